import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { defaultDhcpLimits } from '../../src/dhcp/limits.ts'
import { adminLimits } from '../../src/http/admin.ts'
import { machineLimits } from '../../src/machines/limits.ts'
import { defaultBlobLimits } from '../../src/oci/blob-reader.ts'
import { defaultSendLimits } from '../../src/oci/send.ts'
import {
  databaseLimitsOf,
  dhcpLimitsOf,
  machineLimitsOf,
  registryLimitsOf,
  tftpLimitsOf,
} from '../../src/setup/limits.ts'
import { databaseLimits } from '../../src/store/database.ts'
import { defaultTftpLimits } from '../../src/tftp/limits.ts'

const { config } = loadConfig({ env: {} })

test('the settings have the defaults of the rooms that they bound', () => {
  expect(machineLimitsOf(config)).toEqual(machineLimits)
  expect(dhcpLimitsOf(config)).toEqual(defaultDhcpLimits)
  expect(tftpLimitsOf(config)).toEqual(defaultTftpLimits)
  expect(registryLimitsOf(config)).toEqual({ ...defaultSendLimits, ...defaultBlobLimits })
  expect(databaseLimitsOf(config)).toEqual(databaseLimits)
  expect(config.admin).toMatchObject(adminLimits)
})

test('seconds of the configuration are milliseconds of the rooms', () => {
  const changed = loadConfig({ env: { MUSTER_BOOTS_REPORT_RETRY_SECONDS: '60' } }).config
  expect(machineLimitsOf(changed).reportRetryMs).toBe(60_000)
})
