/** Network namespaces of benchmarks and labs. They outlive the program that made them, so a signal may not end it before they are gone. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Runs `undo`, which must not wait for anything, before one of these signals ends the program; not any more once disposed. */
export function beforeSignalEnds(undo: () => void): Disposable {
  const forget = () => {
    for (const signal of signals) process.off(signal, end)
  }
  function end(signal: NodeJS.Signals): void {
    forget()
    undo()
    // As it would have ended: whoever waits for it sees the signal.
    process.kill(process.pid, signal)
  }
  for (const signal of signals) process.on(signal, end)
  return { [Symbol.dispose]: forget }
}

/** Makes a namespace; it goes away when disposed, and when a signal ends the program. @throws Error with what ip says */
export function addNamespace(ip: string, name: string): Disposable {
  const guard = beforeSignalEnds(() => removeNamespace(ip, name))
  try {
    runIp(ip, ['netns', 'add', name])
  } catch (error) {
    guard[Symbol.dispose]()
    throw error
  }
  return {
    [Symbol.dispose]() {
      guard[Symbol.dispose]()
      removeNamespace(ip, name)
    },
  }
}

/** With the processes that are left in it. @throws Error with what ip says */
export function removeNamespace(ip: string, name: string): void {
  const { stdout } = spawnSync(ip, ['netns', 'pids', name], { encoding: 'utf8' })
  killAll(stdout.split('\n'))
  runIp(ip, ['netns', 'delete', name])
}

/** What was made inside another namespace and not removed: its name stands in the file system of all. */
export function removeNamespacesOf(ip: string, pid: number): void {
  for (const name of namespaceNames())
    if (name.startsWith(`muster-${pid}-`)) spawnSync(ip, ['netns', 'delete', name])
}

export function namespaceNames(): string[] {
  try {
    return readdirSync('/run/netns')
  } catch {
    return []
  }
}

/** Processes that this one started and that still run; theirs end with them. */
export function killChildren(): void {
  killAll(readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').split(' '))
}

function killAll(pids: readonly string[]): void {
  for (const pid of pids.filter((text) => text.trim() !== '')) {
    try {
      process.kill(Number(pid), 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
}

function runIp(ip: string, words: readonly string[]): void {
  const { status, stderr } = spawnSync(ip, words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr.trim()}`)
}
