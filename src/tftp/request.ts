/** What a read request asks for, or why it is refused before anything is opened. */
import { MusterError } from '../errors.ts'
import type { TftpRequest } from './file.ts'
import { normaliseFilename } from './file-name.ts'
import type { TftpLimits } from './limits.ts'
import type { RequestPacket } from './packet.ts'

/** @throws operation-refused, access-denied */
export function toRequest(
  packet: RequestPacket,
  address: string,
  port: number,
  limits: Pick<TftpLimits, 'maxFilenameBytes'>,
): TftpRequest {
  const { mode } = packet
  if (packet.op === 'write')
    throw new MusterError('operation-refused', 'TFTP write request refused: this server only sends files')
  if (mode !== 'octet' && mode !== 'netascii')
    throw new MusterError('operation-refused', 'TFTP mode refused: "octet" and "netascii" are known', {
      details: { found: mode },
    })
  return {
    filename: normaliseFilename(packet.filename, limits.maxFilenameBytes),
    client: { address, port },
    mode,
  }
}
