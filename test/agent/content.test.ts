import { describe, expect, test } from 'vitest'
import { checkMemory } from '../../src/agent/steps/content.ts'
import { thrownCode } from '../support/thrown-code.ts'

const mebibyte = 1024 * 1024
const room = { totalBytes: 1024 * mebibyte, maxImageBytes: 0, reserveBytes: 32 * mebibyte }

describe('memory for an operating system of 20 MiB', () => {
  const sizes = { imageBytes: 20 * mebibyte, archiveBytes: mebibyte }

  test('has to hold its files and the two copies that kexec makes of them', () => {
    const enough = 3 * 21 * mebibyte + room.reserveBytes
    expect(thrownCode(() => checkMemory(sizes, { ...room, availableBytes: enough }))).toBe(
      'nothing was thrown',
    )
    expect(thrownCode(() => checkMemory(sizes, { ...room, availableBytes: enough - 1 }))).toBe(
      'memory-too-small',
    )
  })

  test('is half of the machine’s at most, or what the policy says', () => {
    const availableBytes = 1000 * mebibyte
    const given = (change: Partial<typeof room>) => () =>
      checkMemory(sizes, { ...room, availableBytes, ...change })
    expect(thrownCode(given({ totalBytes: 40 * mebibyte }))).toBe('nothing was thrown')
    expect(thrownCode(given({ totalBytes: 40 * mebibyte - 2 }))).toBe('memory-too-small')
    expect(thrownCode(given({ totalBytes: 30 * mebibyte, maxImageBytes: 20 * mebibyte }))).toBe(
      'nothing was thrown',
    )
    expect(thrownCode(given({ maxImageBytes: 20 * mebibyte - 1 }))).toBe('memory-too-small')
  })
})
