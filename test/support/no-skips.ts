/** In CI a skipped test fails the run: what nobody ran proves nothing. */
import type { Reporter, TestModule } from 'vitest/node'

export default class NoSkips implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((module) => [...module.children.allTests('skipped')])
    for (const test of skipped) console.error(`skipped: ${test.module.moduleId}: ${test.fullName}`)
    if (skipped.length === 0) return
    console.error(`In CI nothing may be skipped, and ${skipped.length} tests were.`)
    process.exitCode = 1
  }
}
