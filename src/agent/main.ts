/** Where /init's `qjs` starts: the machine's parts for the agent, and the machine's end when the agent gives it up. */
import { createOpensslCrypto } from '../crypto/openssl.ts'
import { refresh } from '../tuf/updater.ts'
import { machineFolders } from './agent.ts'
import { createQuickjsHost } from './host-quickjs.ts'
import { run } from './program.ts'
import { runAgent } from './run.ts'
import { createOpensslHost } from './tuf-shims/blocking.ts'
import { provideCrypto } from './tuf-shims/crypto.ts'

const host = createQuickjsHost({ workFolder: machineFolders.work })
const cryptoFolder = `${machineFolders.work}/crypto`
await host.makeFolder(cryptoFolder)
const crypto = createOpensslCrypto(createOpensslHost(cryptoFolder))
provideCrypto(crypto)
const ending = await runAgent({ host, crypto, refresh: (options) => refresh({ ...options, crypto }) })
await run(host, [ending === 'power-off' ? 'poweroff' : 'reboot', '-f'])
