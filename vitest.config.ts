import { configDefaults, defineConfig } from 'vitest/config'

// The suite stays out of the repository: CONTRIBUTING.md says how to have it.
const unfetched = process.env['TUF_CONFORMANCE'] === undefined ? ['test/interop/tuf-conformance.test.ts'] : []

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...unfetched],
    // Two cores is the smallest machine that the suite is meant for; QEMU wants one of them.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
