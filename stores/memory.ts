export type { MemoryStoreOptions } from './memory/options.ts'
export { memoryStore } from './memory/memory-store.ts'
