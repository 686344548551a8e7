import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import { findProcesses } from '../../stores/memory/processes.ts'
import { memoryStore } from '../../stores/memory.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

type Environment = Record<string, string>

function codes(env: Environment, isClusterWorker = false): string[] {
  return findProcesses({ env, isClusterWorker }).map(({ code }) => code)
}

describe('a memory store in one of several processes is found', () => {
  it.each<[string, Environment]>([
    ['PM2 with instances', { pm_id: '0', NODE_APP_INSTANCE: '0', instances: '4' }],
    ['PM2 after a scale', { pm_id: '7', NODE_APP_INSTANCE: '3', instances: '1' }],
    ['Cloud Foundry', { CF_INSTANCE_INDEX: '1' }],
    ['Heroku', { DYNO: 'web.2' }],
    ['AWS Lambda', { AWS_LAMBDA_FUNCTION_NAME: 'app' }],
  ])('under %s', (_name, env) => {
    expect(codes(env)).toEqual(['memory_store_shared'])
  })

  it('as a worker of node:cluster, also below PM2', () => {
    expect(codes({}, true)).toEqual(['memory_store_shared'])
    expect(codes({ pm_id: '0', exec_mode: 'fork_mode', instances: '1' }, true)).toHaveLength(1)
  })

  it('by the store itself, in a real worker', () => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', 'test/stores/memory/clustered.ts'],
      {
        cwd: ROOT,
        env: { PATH: process.env['PATH'], HOME: process.env['HOME'] },
        encoding: 'utf8',
        timeout: 100_000,
      },
    )
    expect([stderr, JSON.parse(stdout || 'null')]).toEqual([
      '',
      [expect.objectContaining({ code: 'memory_store_shared' })],
    ])
  })
})

describe('a memory store that is alone says nothing', () => {
  it.each<[string, Environment, boolean]>([
    ['nowhere in particular', {}, false],
    ['one process of PM2', { pm_id: '0', NODE_APP_INSTANCE: '0', instances: '1' }, false],
    ['one process of PM2 that is no cluster', { pm_id: '0', exec_mode: 'fork_mode' }, false],
    [
      'one process of PM2 in cluster mode',
      { pm_id: '0', exec_mode: 'cluster_mode', NODE_APP_INSTANCE: '0', instances: '1' },
      true,
    ],
    ['a name that node-config reads', { NODE_APP_INSTANCE: '2' }, false],
    ['the first of Cloud Foundry', { CF_INSTANCE_INDEX: '0' }, false],
    ['the first of Heroku', { DYNO: 'web.1', WEB_CONCURRENCY: '2' }, false],
    ['nonsense', { pm_id: '0', instances: 'max', DYNO: 'x', CF_INSTANCE_INDEX: '' }, false],
  ])('%s', (_name, env, isClusterWorker) => {
    expect(codes(env, isClusterWorker)).toEqual([])
  })

  it('in this process', async () => {
    expect(await memoryStore().inspect()).toEqual([])
  })
})
