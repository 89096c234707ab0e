/** The edge where our errors become TFTP ERROR packets. The sentence stays in the log: it may name what a client must not know. */
import { type ErrorCode, errorCodeOf } from '../errors.ts'
import { encodePacket, tftpErrors } from './packet.ts'

const answers: Partial<Record<ErrorCode, { code: number; message: string }>> = {
  // U-Boot gives a file up at codes 1 and 2 and starts over with DHCP at any other: a missing file is always code 1.
  'file-not-found': { code: tftpErrors.fileNotFound, message: 'file not found' },
  'access-denied': { code: tftpErrors.accessViolation, message: 'access denied' },
  'operation-refused': {
    code: tftpErrors.illegalOperation,
    message: 'only read requests, octet or netascii',
  },
  'packet-invalid': { code: tftpErrors.illegalOperation, message: 'malformed packet' },
  'too-many-transfers': { code: tftpErrors.undefined, message: 'too many transfers, try again' },
}

/** What the client is told about any thrown value; what nobody foresaw is "server error", code 0. */
export function toErrorPacket(error: unknown): Uint8Array<ArrayBuffer> {
  const answer = answers[errorCodeOf(error)] ?? { code: tftpErrors.undefined, message: 'server error' }
  return encodePacket({ op: 'error', ...answer })
}
