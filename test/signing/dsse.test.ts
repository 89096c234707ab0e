import { createPublicKey, verify } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { envelope } from '../../src/protocol/envelope.ts'
import { signEnvelope } from '../../src/signing/dsse.ts'
import { createSigner, generatePrivateKey } from '../../src/signing/keys.ts'

describe('a signed envelope', () => {
  it('is signed over the DSSE header and the very bytes of its payload', () => {
    const privateKey = generatePrivateKey()
    const signer = createSigner(privateKey)
    const payload = Buffer.from('{"greeting":"grüße"}')
    const signed = envelope.parse(
      signEnvelope({ payloadType: 'application/x-test', payload, signers: [signer] }),
    )
    expect(Buffer.from(signed.payload, 'base64')).toEqual(payload)
    expect(signed.signatures[0]?.keyid).toBe(signer.keyid)

    const signature = Buffer.from(signed.signatures[0]?.sig ?? '', 'base64')
    const message = Buffer.from('DSSEv1 18 application/x-test 22 {"greeting":"grüße"}')
    expect(verify(null, message, createPublicKey(privateKey), signature)).toBe(true)
  })

  it('has an ASCII payload type, so that its length in bytes is its length in characters', () => {
    const signers = [createSigner(generatePrivateKey())]
    expect(() => signEnvelope({ payloadType: 'text/ä', payload: Buffer.alloc(0), signers })).toThrow(/ASCII/)
  })
})
