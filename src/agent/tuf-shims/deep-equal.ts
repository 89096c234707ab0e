/** node:util for @tufjs/models, which compares its objects only in `equals`; nothing of ours calls that. */
export default {
  isDeepStrictEqual(): never {
    throw new Error('isDeepStrictEqual is not carried by the agent')
  },
}
