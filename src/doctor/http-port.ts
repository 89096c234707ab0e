/** Whether the first boot script can be had by HTTP at the address that machines are given. */
import { type Facts, ok, trouble, type Verdict } from './check.ts'

export type HttpRead = {
  url: string
  status: number | undefined
  startsRight: boolean
  failure: string | undefined
}

export function judgeHttp({ failure, startsRight, status, url }: HttpRead): Verdict {
  if (failure !== undefined)
    return trouble(
      `${url} cannot be read: ${failure}`,
      "is the server running ('muster status'), is advertise an address of it, and does a firewall let the port in? firmware.port moves it",
    )
  if (status !== 200 || !startsRight)
    return trouble(
      `${url} is answered by something else than Muster (status ${status})`,
      'another program has that address or port: stop it, or set advertise and firmware.port to what is Muster',
    )
  return ok(`${url} is read, from this machine; a firewall on the way to others is not seen from here`)
}

export async function measureHttp(
  { firmwarePort, host }: Facts,
  fetch: typeof globalThis.fetch,
): Promise<HttpRead> {
  const inUrl = host.includes(':') ? `[${host}]` : host
  const url = `http://${inUrl}:${firmwarePort}/boot/autoexec.ipxe`
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5000), redirect: 'manual' })
    const text = await response.text()
    return { url, status: response.status, startsRight: text.startsWith('#!ipxe'), failure: undefined }
  } catch (error) {
    const { cause, message } = error as Error & { cause?: Error }
    return { url, status: undefined, startsRight: false, failure: cause?.message ?? message }
  }
}
