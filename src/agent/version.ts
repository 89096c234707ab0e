/** What a release's `minAgent` is compared with; test/agent/version.test.ts holds it to package.json. */
export const agentVersion = '0.1.0'
