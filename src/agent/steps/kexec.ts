/** Loads the verified files and jumps. What was hashed is what is loaded: the files are this agent's alone. */
import { MusterError } from '../../errors.ts'
import type { Plan } from '../../protocol/plan.ts'
import type { Agent } from '../agent.ts'
import { commandLine } from '../arguments.ts'
import { run } from '../program.ts'
import { asciiText, printable } from '../text.ts'
import type { Content } from './content.ts'

/** Options of kexec(8) by how the kernel is loaded; the older way without purgatory's second hash, which takes minutes with caches off. */
const loadOptions = { byKernel: ['-s'], byProgram: ['-c', '-i'] }

/**
 * `kexec -s`: the kernel reads the files itself (kexec_file_load) and, locked down, checks its signature on them. That
 * call takes no device tree, so an artifact with one is loaded the older way; so is every one where the kernel lacks that call, as
 * Debian's for arm64 does (CONFIG_KEXEC_FILE is not set). Locked down, a kernel refuses the older way.
 * @throws MusterError `argument-refused`, `kexec-locked-down`, `kexec-failed`
 */
export async function loadKernel(agent: Agent, content: Content, plan: Plan): Promise<void> {
  const line = commandLine(content.commandLine, plan.arguments, agent.limits.commandLineBytes)
  const { kernelPath, initrdPath, dtbPath } = content
  const words = ['-l', kernelPath, `--command-line=${line}`]
  if (initrdPath !== undefined) words.push(`--initrd=${initrdPath}`)
  if (dtbPath !== undefined) words.push(`--dtb=${dtbPath}`)
  const load = (options: string[]) => run(agent.host, ['kexec', ...options, ...words])
  let { status, stdout, stderr } = await load(
    dtbPath === undefined ? loadOptions.byKernel : loadOptions.byProgram,
  )
  if (status !== 0 && /kexec_file_load not available/.test(`${stderr} ${asciiText(stdout)}`))
    ({ status, stdout, stderr } = await load(loadOptions.byProgram))
  if (status === 0) return
  const complaint = printable(`${stderr} ${asciiText(stdout)}`, 300) || `status ${status}`
  if (await isLockedDown(agent, complaint))
    throw new MusterError(
      'kexec-locked-down',
      `This machine's kernel is locked down and takes only kernels with a signature it trusts: ${complaint}. ` +
        'Publish a kernel signed for it, or boot the agent without Secure Boot.',
    )
  throw new MusterError('kexec-failed', `kexec does not load the kernel: ${complaint}.`)
}

/**
 * Ends this kernel, so it returns only by its failure.
 * @throws MusterError `kexec-failed`
 */
export async function startKernel(agent: Agent): Promise<never> {
  const { status, stdout, stderr } = await run(agent.host, ['kexec', '-e'])
  const complaint = printable(`${stderr} ${asciiText(stdout)}`, 300) || `status ${status}`
  throw new MusterError('kexec-failed', `kexec does not start the loaded kernel: ${complaint}.`)
}

/**
 * ENOKEY, EKEYREJECTED and EBADMSG come only of signatures. EPERM has other causes too, so the kernel is asked:
 * kernel_lockdown(7), the mode in force stands in brackets.
 */
async function isLockedDown(agent: Agent, complaint: string): Promise<boolean> {
  if (/required key not available|key was rejected|bad message/i.test(complaint)) return true
  if (!/not permitted|permission denied/i.test(complaint)) return false
  const mode = asciiText(await agent.host.readFile(`${agent.folders.sys}/kernel/security/lockdown`, 256))
  if (/\[(?:integrity|confidentiality)\]/.test(mode)) return true
  // Where securityfs is not mounted its log tells: security/lockdown/lockdown.c.
  const log = asciiText((await run(agent.host, ['dmesg'], 1_000_000)).stdout)
  return /Lockdown: .*kexec|Kernel is locked down/.test(log)
}
