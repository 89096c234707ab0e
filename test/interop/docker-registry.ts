/** A real docker-registry (distribution) on loopback, and a proxy in front of it that counts what it serves. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/**
 * Runs a registry's client. Skopeo looks for who is logged in below /run/containers, which only root may read once root has used
 * podman or buildah; in another folder it looks instead.
 */
export const run = (program: string, args: readonly string[], options: { cwd?: string } = {}) =>
  promisify(execFile)(program, args, { ...options, env: { ...process.env, XDG_RUNTIME_DIR: tmpdir() } })

export class DockerRegistry implements AsyncDisposable {
  readonly host: string
  readonly #process: ChildProcess

  private constructor(host: string, child: ChildProcess) {
    this.host = host
    this.#process = child
  }

  static async start(options: {
    program: string
    folder: string
    htpasswd?: string
    tls?: { certificate: string; key: string }
  }): Promise<DockerRegistry> {
    const { program, folder, htpasswd, tls } = options
    const port = await freePort()
    const host = `127.0.0.1:${port}`
    const config = {
      version: '0.1',
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(folder, 'data') } },
      http: { addr: host, secret: 'test', ...(tls ? { tls } : {}) },
      ...(htpasswd ? { auth: { htpasswd: { realm: 'registry', path: htpasswd } } } : {}),
    }
    await mkdir(folder, { recursive: true })
    // JSON is YAML.
    await writeFile(join(folder, 'registry.yml'), JSON.stringify(config))
    const child = spawn(program, ['serve', join(folder, 'registry.yml')], { stdio: 'ignore' })
    const registry = new DockerRegistry(host, child)
    for (let tries = 0; ; tries++) {
      if (await answers(port)) return registry
      if (tries > 100 || child.exitCode !== null) throw new Error('docker-registry did not start')
      await sleep(50)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    this.#process.kill('SIGKILL')
    await ended
  }
}

/** Passes TCP on, counts the bytes towards the client, and slows them down. */
export class CountingProxy implements AsyncDisposable {
  readonly host: string
  readonly #server: Server
  readonly #clients = new Set<Socket>()
  bytes = 0
  bytesPerSecond = Number.POSITIVE_INFINITY

  private constructor(server: Server) {
    this.#server = server
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async start(target: string): Promise<CountingProxy> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const proxy = new CountingProxy(server)
    server.on('connection', (client) => {
      proxy.#clients.add(client)
      const upstream = connect(Number(target.split(':')[1]), '127.0.0.1')
      upstream.on('data', (chunk) => {
        proxy.bytes += chunk.length
        client.write(chunk)
        const pauseMs = (chunk.length / proxy.bytesPerSecond) * 1000
        if (pauseMs < 1) return
        upstream.pause()
        setTimeout(() => upstream.resume(), pauseMs)
      })
      client.pipe(upstream)
      upstream.on('end', () => client.end())
      for (const socket of [client, upstream]) {
        socket.on('error', () => {})
        socket.on('close', () => {
          client.destroy()
          upstream.destroy()
        })
      }
    })
    return proxy
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
