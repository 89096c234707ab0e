/**
 * The answer of pixiecore's API (danderson/netboot, pixiecore/README.api.md): a door for those who have a pixiecore, or a program
 * that speaks to one. Absolute URLs; JSON needs no encoder of ours.
 */
import type { Given } from '../firmware.ts'
import { bootInterfaceArgument, plainPath, type ScriptContext } from './template.ts'

/** @param base URL of the firmware plane, without a slash at its end. */
export function pixiecoreAnswer(
  given: Exclude<Given, { give: 'skip' }>,
  context: ScriptContext,
  base: string,
): { kernel: string; initrd: string[]; cmdline: string; message: string } {
  const line = (args: readonly string[]) =>
    [...args, bootInterfaceArgument(context.mac)].filter((each) => each !== '').join(' ')
  if (given.give === 'agent') {
    const folder = `${base}/boot/agent/${given.arch}`
    return {
      kernel: `${folder}/kernel`,
      initrd: [`${folder}/initramfs`],
      cmdline: line([...context.agentArguments(given.arch), `muster.server=${context.agentServers}`]),
      message: `Muster: ${given.reason}`,
    }
  }
  return {
    kernel: `${base}/files/${plainPath(given.kernel)}`,
    initrd: given.initrd.map((path) => `${base}/files/${plainPath(path)}`),
    cmdline: line(given.arguments),
    message: `Muster: UNVERIFIED: ${given.reason}`,
  }
}
