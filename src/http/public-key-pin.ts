/** How a server is known without a certificate authority or a clock: by its public key, as curl's --pinnedpubkey writes it. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const agentPlaneKeyFile = 'agent-plane.key.pem'

/** RFC 7469 §2.4: base64 of the sha256 of the DER SubjectPublicKeyInfo, after `sha256//`. */
export function pinOf(publicKey: KeyObject): string {
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  return `sha256//${createHash('sha256').update(spki).digest('base64')}`
}

export function pinOfPrivateKey(pem: string): string {
  return pinOf(createPublicKey(createPrivateKey(pem)))
}

/** Of the agent plane whose key lies in `keysDirectory`; undefined while there is none. @throws what reading it throws */
export function readAgentPlanePin(keysDirectory: string): string | undefined {
  let pem: string
  try {
    pem = readFileSync(join(keysDirectory, agentPlaneKeyFile), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return pinOfPrivateKey(pem)
}
