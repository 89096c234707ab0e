/**
 * The token by which a booted system reports in. It is computed, never stored: base64url of HMAC-SHA256 under the server's
 * secret, so the database, its backups and every event are free of it, and it belongs to one boot for ever.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** `secret`: at least 32 random bytes that only the server has. */
export function createReportToken(secret: Uint8Array, bootId: string): string {
  return createHmac('sha256', secret).update('muster-report-v1').update(bootId).digest('base64url')
}

/** In constant time. `token` is attacker-controlled. */
export function isReportToken(secret: Uint8Array, bootId: string, token: string): boolean {
  const expected = Buffer.from(createReportToken(secret, bootId))
  const found = Buffer.from(token)
  return expected.length === found.length && timingSafeEqual(expected, found)
}
