/** Settings in the words of the rooms that they bound. The types demand all: a new limit without a setting does not compile. */
import type { Config } from '../config/schema.ts'
import type { DhcpLimits } from '../dhcp/limits.ts'
import type { MachineLimits } from '../machines/limits.ts'
import type { BlobLimits } from '../oci/blob-reader.ts'
import type { SendLimits } from '../oci/send.ts'
import type { DatabaseLimits } from '../store/database.ts'
import type { TftpLimits } from '../tftp/limits.ts'

export function machineLimitsOf({ boots, clusters, enrolment, machines, profiles }: Config): MachineLimits {
  return {
    undecidedMax: enrolment.undecidedMax,
    undecidedPerAddressMax: enrolment.undecidedPerAddressMax,
    undecidedBootsMax: enrolment.undecidedBootsMax,
    undecidedEventsPerBootMax: enrolment.undecidedEventsPerBootMax,
    undecidedBytesMax: enrolment.undecidedBytesMax,
    newMachinesPerMinuteMax: machines.newPerMinuteMax,
    hellosPerMinutePerAddressMax: machines.hellosPerMinutePerAddressMax,
    hellosPerMinutePerMachineMax: machines.hellosPerMinutePerMachineMax,
    rateKeysMax: machines.rateKeysMax,
    waitLinesPerMinuteMax: machines.waitLinesPerMinuteMax,
    macsPerMachineMax: machines.macsMax,
    bootsPerMachineMax: machines.bootsMax,
    eventsPerBootMax: boots.eventsMax,
    eventsPerMachineMax: machines.eventsMax,
    eventsWithoutMachineMax: machines.unassignedEventsMax,
    eventMessageBytes: boots.eventMessageBytes,
    eventDataBytes: boots.eventDataBytes,
    consoleBytes: boots.consoleBytes,
    rivalWithinMs: boots.rivalSeconds * 1000,
    abandonedAfterMs: boots.abandonedSeconds * 1000,
    reportRetryMs: boots.reportRetrySeconds * 1000,
    reportWithinMs: boots.reportSeconds * 1000,
    firmwareMacsMax: machines.firmwareMacsMax,
    firmwareNotesPerMacMax: machines.firmwareNotesPerMacMax,
    firmwareWithinMs: machines.firmwareSeconds * 1000,
    profilesMax: profiles.countMax,
    clustersMax: clusters.countMax,
  }
}

export function tftpLimitsOf({ log, tftp }: Pick<Config, 'log' | 'tftp'>): TftpLimits {
  return {
    // RFC 2348: the block, 4 bytes of TFTP, 8 of UDP, 20 of IPv4.
    mtuBytes: tftp.blockBytesMax + 32,
    maxWindowBlocks: tftp.windowBlocksMax,
    maxWindowBytes: tftp.windowBytesMax,
    maxFilenameBytes: tftp.fileNameBytesMax,
    maxTransfers: tftp.transfersMax,
    maxTransfersPerClient: tftp.transfersPerClientMax,
    maxRequestsPerSecondPerClient: tftp.requestsPerSecondPerClientMax,
    maxRequestBurstPerClient: tftp.requestBurstPerClientMax,
    maxRememberedClients: tftp.rememberedClientsMax,
    stripBytes: tftp.readAheadBytes,
    firstRetransmitMs: tftp.firstRetransmitMs,
    minRetransmitMs: tftp.retransmitMsMin,
    maxRetransmitMs: tftp.retransmitMsMax,
    giveUpAfterMs: tftp.giveUpMs,
    ...logLimitsOf(log),
  }
}

export function dhcpLimitsOf({ dhcp, log }: Pick<Config, 'dhcp' | 'log'>): DhcpLimits {
  return {
    maxPacketBytes: dhcp.packetBytesMax,
    maxPacketsPerSecondPerClient: dhcp.packetsPerSecondPerClientMax,
    maxPacketBurstPerClient: dhcp.packetBurstPerClientMax,
    maxPacketsPerSecond: dhcp.packetsPerSecondMax,
    maxRememberedClients: dhcp.rememberedClientsMax,
    maxPending: dhcp.pendingMax,
    maxConflictChecks: dhcp.conflictChecksMax,
    maxConflictChecksPerSecond: dhcp.conflictChecksPerSecondMax,
    firstLeaseMs: dhcp.firstLeaseSeconds * 1000,
    offerHoldMs: dhcp.offerHoldSeconds * 1000,
    offerYieldsAfterMs: dhcp.offerYieldSeconds * 1000,
    maxOffers: dhcp.offersMax,
    quarantineMs: dhcp.quarantineSeconds * 1000,
    ...logLimitsOf(log),
  }
}

function logLimitsOf({ lineBurstMax, linesPerSecondMax }: Config['log']) {
  return { maxLogLinesPerSecond: linesPerSecondMax, maxLogLineBurst: lineBurstMax }
}

export function registryLimitsOf({ registry }: Pick<Config, 'registry'>): SendLimits & BlobLimits {
  return {
    attemptsMax: registry.attemptsMax,
    backoffMs: registry.backoffMs,
    backoffMaxMs: registry.backoffMsMax,
    retryAfterMaxMs: registry.retryAfterMsMax,
    responseTimeoutMs: registry.responseTimeoutMs,
    failuresMax: registry.brokenMax,
    progressBytes: registry.stallBytes,
    stallTimeoutMs: registry.stallTimeoutMs,
  }
}

export function databaseLimitsOf({ database }: Pick<Config, 'database'>): DatabaseLimits {
  return {
    lockTimeoutMs: database.lockTimeoutMs,
    unitsPerCommit: database.unitsPerCommitMax,
    cachedStatements: database.cachedStatementsMax,
  }
}
