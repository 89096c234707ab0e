import { describe, expect, test } from 'vitest'
import { parseAgentPolicy } from '../src/builder/agent-policy.ts'
import { parseCluster } from '../src/cluster/cluster.ts'
import { parseProfile } from '../src/machines/profiles.ts'

const messageOf = (parse: () => unknown): string => {
  try {
    parse()
  } catch (error) {
    return (error as Error).message
  }
  return 'nothing was thrown'
}

describe('a mistake in a document is told in words, without those of the schema library', () => {
  const libraryWords = /Invalid|received|array|Unrecognized|Too (small|big)|>=/

  test('of a policy', () => {
    const wrong = { targets: 5, minTargetsVersion: 'x', staleSeconds: -1, nonsense: 1 }
    const message = messageOf(() => parseAgentPolicy(wrong, 'policy.yaml'))
    expect(message).toContain('targets: expected a list, found a number\n')
    expect(message).toContain('minTargetsVersion: expected a number, found text\n')
    expect(message).toContain('staleSeconds: expected at least 0\n')
    expect(message).toContain("the file: there is no member 'nonsense'\n")
    expect(message).not.toMatch(libraryWords)
  })

  test('of a profile', () => {
    const wrong = { name: 'edge', selector: { labels: 'x', sites: 1 }, image: { channel: 3 } }
    const message = messageOf(() => parseProfile(wrong))
    expect(message).toContain('selector.labels: expected members by name, found text')
    expect(message).toContain("selector: there is no member 'sites'")
    expect(message).toContain('image.name: it is missing; expected text')
    expect(message).not.toMatch(libraryWords)
  })

  test('of a cluster of a kind that does not exist', () => {
    const message = messageOf(() => parseCluster({ name: 'c', kind: 'k3s', files: [] }))
    expect(message).toContain("kind: only 'static' exists; what k3s or kubeadm read are files of it")
    expect(message).not.toMatch(libraryWords)
  })

  test('of a cluster, without the value that was given: it may be a secret', () => {
    const message = messageOf(() => parseCluster({ name: 'c', kind: 'static', secrets: ['hush-hush'] }))
    expect(message).toContain('secrets: expected members by name, found a list')
    expect(message).not.toMatch(libraryWords)
    expect(message).not.toContain('hush')
  })
})
