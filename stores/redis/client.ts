/** What a Redis command takes. */
export type RedisArgument = string | Buffer | number

/** The part of an ioredis pipeline this store calls. */
export interface RedisPipeline {
  set(key: string, value: string, unit: 'PX', ms: number): RedisPipeline
  call(command: string, ...args: RedisArgument[]): RedisPipeline
  exec(): Promise<[error: Error | null, result: unknown][] | null>
}

/**
 * The part of an ioredis `Redis` or `Cluster` this store calls, spelled out so that latchkey does
 * not depend on ioredis' types; both ioredis 5 and 6 have it.
 */
export interface RedisClient {
  readonly status: string
  readonly isCluster?: boolean
  /** Only a Cluster has nodes. */
  nodes?(role: 'master'): readonly Pick<RedisClient, 'call' | 'status' | 'on' | 'off'>[]
  /** Only a Cluster has it: asks who serves what, and connects to all of them. */
  refreshSlotsCache?(): void
  duplicate(...overrides: never[]): RedisClient
  connect(): Promise<unknown>
  disconnect(reconnect?: boolean): void
  on(event: string, listener: (...args: unknown[]) => void): unknown
  off(event: string, listener: (...args: unknown[]) => void): unknown
  call(command: string, ...args: RedisArgument[]): Promise<unknown>
  pipeline(): RedisPipeline
  eval(script: string, keys: number, ...args: RedisArgument[]): Promise<unknown>
  evalsha(sha: string, keys: number, ...args: RedisArgument[]): Promise<unknown>
}

/**
 * The variants of commands that answer with bytes. Both ioredis 5 and 6 have them on
 * every client; the types of `Cluster` do not say so.
 */
export interface BufferCommands {
  getBuffer(key: string): Promise<Buffer | null>
  mgetBuffer(...keys: string[]): Promise<(Buffer | null)[]>
  evalBuffer: RedisClient['eval']
  evalshaBuffer: RedisClient['evalsha']
}

/** The same of a pipeline. */
export interface BufferPipeline {
  evalBuffer(script: string, keys: number, ...args: RedisArgument[]): RedisPipeline
}
