/** A release's own command line, as publisher and agent read it: one line of ASCII, whose quotes are closed. */

/** What is wrong with it, as a clause; undefined: nothing. White space around it does not count. */
export function commandLineProblem(signed: string): string | undefined {
  const text = signed.trim()
  if (!/^[\x20-\x7e]*$/.test(text)) return 'the signed command line must be one line of ASCII'
  if (splitWords(text).quoteOpen) return 'the signed command line has a quote that is never closed'
  return undefined
}

/** As the kernel does: a quote protects spaces up to the next one (lib/cmdline.c, next_arg). */
export function splitWords(text: string): { words: string[]; quoteOpen: boolean } {
  const words: string[] = []
  let word = ''
  let quoteOpen = false
  for (const character of text) {
    if (character === '"') quoteOpen = !quoteOpen
    if (character === ' ' && !quoteOpen) {
      if (word !== '') words.push(word)
      word = ''
    } else word += character
  }
  if (word !== '') words.push(word)
  return { words, quoteOpen }
}
