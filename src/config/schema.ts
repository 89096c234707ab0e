/**
 * Every setting, limit, timeout, port and size of the server: one schema, from which `muster config` and
 * docs/configuration.md are made. Units stand last in the names; each description says what the value bounds.
 */
import { z } from 'zod'
import { dhcpSection } from './dhcp.ts'
import { count, flag, host, port, section, whole } from './kinds.ts'
import { peersSetting } from './peers.ts'

export const configSchema = z.strictObject({
  data: z.string().min(1).default('./data').describe('Folder of the database, blobs, keys and boot files'),
  cache: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Folder of downloaded Debian packages, which several servers may share; by default cache in the data folder',
    ),
  files: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Folder of the operator's own files, served as files/<name> over TFTP and HTTP; never verified",
    ),
  advertise: z
    .string()
    .regex(/^[A-Za-z0-9._:[\]-]+$/, 'a host name or an address, without scheme or port')
    .optional()
    .describe('Host name or address that machines reach this server at; by default the address they came to'),
  mirror: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('Debian mirror that the agent and boot loaders are made from; by default the one apt uses'),
  agentPolicy: z
    .string()
    .min(1)
    .optional()
    .describe(
      'File with what the agents that this server makes may boot and do (docs/agent-policy.md); by default what that document says',
    ),
  firmware: section({
    host: host('0.0.0.0', 'Address of the firmware plane; :: for IPv6 and IPv4'),
    port: port(8080, 'HTTP port of the firmware plane'),
    requestTimeoutMs: count(30_000, 600_000, 'How long a client may take to send its request'),
    connectionsMax: count(4096, 65_536, 'Connections open at once'),
  }),
  tftp: section({
    enabled: flag(true, 'Whether to answer TFTP'),
    host: host('0.0.0.0', 'Address of the TFTP server; :: for IPv6 and IPv4'),
    port: port(69, 'UDP port; 6969 is taken where 69 is not permitted'),
    engine: z
      .enum(['auto', 'dgram', 'batched'])
      .default('auto')
      .describe(
        'How datagrams move: batched system calls (Linux on x64 and arm64), node:dgram, or what this machine can',
      ),
    blockBytesMax: whole(512, 65_464)
      .default(1468)
      .describe('Greatest block size agreed to (RFC 2348); 1468 fits an Ethernet frame'),
    windowBlocksMax: count(16, 64, 'Greatest window agreed to (RFC 7440)'),
    windowBytesMax: whole(512, 4_194_304)
      .default(65_536)
      .describe("Greatest window in bytes: one has to fit the client's receive buffer"),
    fileNameBytesMax: count(255, 1024, 'Longest file name that may be asked for'),
    transfersMax: count(1024, 65_536, 'Transfers at once, in all'),
    transfersPerClientMax: count(16, 65_536, 'Transfers at once from one address'),
    requestsPerSecondPerClientMax: count(100, 100_000, 'Requests from one address in a second, lasting'),
    requestBurstPerClientMax: count(200, 100_000, 'The same at once: loaders try dozens of names in a row'),
    rememberedClientsMax: count(4096, 1_000_000, 'Addresses whose request rate is remembered'),
    readAheadBytes: whole(4096, 16_777_216)
      .default(65_536)
      .describe('Read from a file at a time; each transfer holds up to three of these'),
    firstRetransmitMs: count(
      1000,
      60_000,
      "Wait for a client's first answer; later waits follow what is measured",
    ),
    retransmitMsMin: count(20, 60_000, 'Shortest wait before a block is sent again'),
    retransmitMsMax: count(5000, 60_000, 'Longest wait before a block is sent again'),
    giveUpMs: count(20_000, 600_000, 'A client that gets no further for this long is given up'),
  }),
  dhcp: dhcpSection,
  unknownFiles: section({
    namesMax: count(256, 65_536, 'Names that firmware asked for in vain and that are remembered'),
    namesPerAddressMax: count(64, 65_536, 'The same, that only one address asked for'),
    addressesMax: count(8, 256, 'Addresses remembered for each of them'),
  }),
  stalls: section({
    dhcp: count(30, 86_400, 'Seconds from an address and a file name until firmware asks for a file'),
    loader: count(60, 86_400, 'Seconds from the boot loader until it asks for its script'),
    script: count(60, 86_400, 'Seconds from a script until the kernel is asked for'),
    kernel: count(300, 86_400, "Seconds from the agent's kernel until it says hello"),
    hello: count(60, 86_400, 'Seconds from a hello until the agent asks for its plan'),
    plan: count(60, 86_400, 'Seconds without a word of an agent that waits for approval or has its plan'),
    metadata: count(120, 86_400, 'The same, of one that fetches metadata'),
    manifest: count(60, 86_400, 'The same, of one that fetches the manifest'),
    blobs: count(300, 86_400, 'The same, of one that downloads the operating system; progress is a word'),
    kexec: count(300, 86_400, 'Seconds from kexec until the booted system reports in'),
  }),
  agent: section({
    host: host('0.0.0.0', 'Address of the agent plane (TLS, pinned key)'),
    port: port(8443, 'HTTPS port of the agent plane'),
    bodyBytesMax: count(262_144, 16_777_216, 'Greatest body an agent may send'),
    requestsPerMinuteMax: count(
      600,
      100_000,
      'Requests from one address in a minute, for each URL; 8 times that from one IPv6 /64',
    ),
    connectionsMax: count(4096, 65_536, 'Connections open at once'),
    handshakeTimeoutMs: count(10_000, 600_000, 'How long a client may take for its TLS handshake'),
    requestTimeoutMs: count(30_000, 600_000, 'How long a client may take to send its request'),
    idleTimeoutMs: count(60_000, 600_000, 'A connection without a byte for so long is closed'),
    pollSeconds: count(5, 3600, 'How soon a waiting machine asks again'),
    peers: peersSetting,
  }),
  admin: section({
    host: host('127.0.0.1', 'Address of the admin plane'),
    port: port(9443, 'Port of the admin plane (API, metrics, health)'),
    connectionsMax: count(256, 65_536, 'Connections open at once'),
    headersTimeoutMs: count(30_000, 600_000, 'How long a client may take to send the head of its request'),
    bodyBytesMax: count(
      1_048_576,
      67_108_864,
      'Greatest body of a request, except blobs, which are streamed',
    ),
  }),
  image: section({
    prepare: flag(true, 'Whether the first start makes agent, boot loaders and the hello image'),
    raspberryPi: flag(
      false,
      "Whether the first start takes the boot firmware of Raspberry Pis from Debian's raspi-firmware (component non-free-firmware: its licence allows use with Raspberry Pis alone) and the device trees of Debian's arm64 kernel",
    ),
    hardware: z
      .enum(['virtual', 'server'])
      .default('virtual')
      .describe('What the agent has drivers for: virtual machines, or wired NICs of real ones'),
    architectures: z
      .array(z.enum(['amd64', 'arm64']))
      .min(1)
      .default(['amd64'])
      .describe('Architectures to make agent and hello image for'),
    arguments: z
      .array(
        z
          .string()
          .regex(
            /^[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:/@-]*)?$/,
            'a kernel argument: name or name=value, without blanks and quotes',
          ),
      )
      .optional()
      .describe(
        "Kernel arguments of the boot agent: its consoles, and what your hardware's kernel needs; by default `console=tty0 console=ttyS0,115200` on amd64, and on arm64 none, so that the console is the one that firmware names",
      ),
  }),
  releases: section({
    repository: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "at most 63 of a-z, 0-9 and '-'")
      .default('main')
      .describe('Name of the TUF repository: /tuf/<name>/'),
    upstream: z
      .strictObject({
        url: z.url({ protocol: /^https?$/ }).describe('The upstream server: https://…/tuf/<repository>'),
        root: z
          .string()
          .min(1)
          .describe("File with the upstream repository's root.json, fetched by a road you trust"),
      })
      .optional()
      .describe('Follow another repository instead of holding keys'),
    pollSeconds: count(300, 86_400, 'How often upstream is asked'),
    metadataTimeoutMs: count(60_000, 600_000, 'How long one file of its metadata may take'),
    expiry: z
      .enum(['default', 'satellite', 'airgap'])
      .default('default')
      .describe(
        'How long signed metadata lives without this server, timestamp and snapshot: default a day and a week, satellite 30 days, airgap 180 days',
      ),
  }),
  registry: section({
    credentials: z
      .string()
      .min(1)
      .optional()
      .describe(
        "A docker config.json with the credentials of registries; 'docker login', 'skopeo login' and 'oras login' write one",
      ),
    hosts: z
      .record(
        z.string().min(1),
        z.strictObject({
          plainHttp: z.boolean().optional(),
          ca: z.string().min(1).optional(),
          authRealms: z.array(z.string().min(1)).optional(),
        }),
      )
      .default({})
      .describe(
        'Registries by host or host:port that differ: plainHttp: true, ca: a file of PEM certificates, authRealms: [hosts of its token service]',
      ),
    attemptsMax: count(5, 100, 'Tries of one request to a registry or an upstream, the first included'),
    backoffMs: count(500, 60_000, 'First wait between tries; doubles each time, with jitter'),
    backoffMsMax: count(20_000, 600_000, 'Longest wait between tries'),
    retryAfterMsMax: count(120_000, 3_600_000, 'Longest Retry-After that is waited for'),
    responseTimeoutMs: count(30_000, 600_000, "From a request to its reply's head"),
    stallTimeoutMs: count(30_000, 600_000, 'Without stallBytes in this time a connection counts as broken'),
    stallBytes: count(65_536, 1_048_576, 'What has to arrive within stallTimeoutMs'),
    brokenMax: count(5, 100, 'Broken connections in a row before a blob is given up'),
  }),
  enrolment: section({
    mode: z
      .enum(['auto', 'ask'])
      .default('auto')
      .describe('auto: new machines get the demonstration image without a person; anything more asks first'),
    undecidedMax: count(
      1000,
      1_000_000,
      'Machines not yet approved that are kept; the oldest is forgotten first',
    ),
    undecidedPerAddressMax: count(
      64,
      1_000_000,
      'The same, from one address; 8 times that from one IPv6 /64, which must stay below undecidedMax or one network pushes out the others',
    ),
    undecidedBootsMax: count(4, 10_000, 'Boots kept of a machine that is not approved yet'),
    undecidedEventsPerBootMax: count(64, 65_536, 'Events kept of each of these boots'),
    undecidedBytesMax: count(
      67_108_864,
      1_099_511_627_776,
      'Boots and events of all machines that no person decided on; who takes most gives way, the oldest first',
    ),
  }),
  machines: section({
    newPerMinuteMax: count(600, 1_000_000, 'Hellos of machines not known yet in a minute, in all'),
    hellosPerMinutePerAddressMax: count(
      240,
      1_000_000,
      'Hellos from one address in a minute; 8 times that from one IPv6 /64',
    ),
    hellosPerMinutePerMachineMax: count(20, 1_000_000, 'Hellos from one address for one machine in a minute'),
    rateKeysMax: count(20_000, 1_000_000, 'Addresses and machines that these rates are remembered of'),
    waitLinesPerMinuteMax: count(
      30,
      10_000,
      'Log lines about machines that wait for a person in a minute, in all',
    ),
    macsMax: count(16, 256, 'MAC addresses kept per machine'),
    bootsMax: count(50, 10_000, 'Boots kept per machine; those that never signed anything go first'),
    eventsMax: count(256, 65_536, 'Events kept per machine that belong to no boot'),
    firmwareMacsMax: count(4096, 1_000_000, "MAC addresses that firmware's doings are remembered of"),
    firmwareNotesPerMacMax: count(16, 256, 'Of each of them, the newest'),
    firmwareSeconds: count(900, 86_400, 'How long before a hello what firmware did belongs to that boot'),
    unassignedEventsMax: count(4096, 1_000_000, 'Events kept that belong to no machine'),
  }),
  boots: section({
    planSeconds: count(300, 3600, 'How long a plan is valid'),
    eventsMax: count(512, 65_536, 'Events kept per boot'),
    eventMessageBytes: count(2048, 65_536, 'Longest message of an event; the rest is cut off'),
    eventDataBytes: count(4096, 65_536, 'Most data beside the message of an event'),
    consoleBytes: count(65_536, 65_536, 'Console kept of a boot that failed, its end'),
    rivalSeconds: count(120, 86_400, 'Heard of so lately, a boot makes another hello of its machine a rival'),
    abandonedSeconds: count(1800, 604_800, 'A boot that was not heard of for so long is over'),
    reportRetrySeconds: count(600, 86_400, 'How long a booted system may repeat its report'),
    reportSeconds: count(86_400, 2_592_000, 'How long after its hello a booted system may report'),
  }),
  profiles: section({ countMax: count(1000, 100_000, 'Profiles kept') }),
  clusters: section({ countMax: count(100, 100_000, 'Clusters kept') }),
  database: section({
    lockTimeoutMs: count(2000, 60_000, 'How long another server that is going down is waited for'),
    unitsPerCommitMax: count(512, 65_536, 'Writes that share one commit'),
    cachedStatementsMax: count(256, 65_536, 'Prepared statements kept'),
  }),
  store: section({
    verifyOnOpen: flag(true, 'Whether a blob is hashed again when first opened; off only for fault tests'),
  }),
  log: section({
    level: z
      .enum(['debug', 'info', 'warn', 'error'])
      .default('info')
      .describe('Least severity that is logged'),
    format: z
      .enum(['auto', 'json', 'text'])
      .default('auto')
      .describe('json for programs, text for people; auto asks whether it is a terminal'),
    linesPerSecondMax: count(
      20,
      100_000,
      'Lines of one kind in a second, lasting, about what comes by DHCP and TFTP; what is left out is counted in a line',
    ),
    lineBurstMax: count(100, 100_000, 'The same at once'),
  }),
})

export type Config = z.output<typeof configSchema>
