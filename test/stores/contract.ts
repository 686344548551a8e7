import { describe } from '@jest/globals'
import { describeCheck } from './contract/check.ts'
import { describeCreate } from './contract/create.ts'
import { describeFeed } from './contract/feed.ts'
import { describeIdentity } from './contract/identity.ts'
import { describeLifetime } from './contract/lifetime.ts'
import { describeList } from './contract/list.ts'
import { describeReplace } from './contract/replace.ts'
import { describeRevoke } from './contract/revoke.ts'
import { describeRotate } from './contract/rotate.ts'
import { describeAudit, describeKeys, describeLimit } from './contract/service.ts'
import type { OpenStore } from './contract/support.ts'
import { describeUpdate } from './contract/update.ts'

export type { OpenedStore, OpenStore, TestClock } from './contract/support.ts'
export { testClock } from './contract/support.ts'

/** Holds a store to each sentence of `lib/store.ts`. */
export function describeStore(name: string, open: OpenStore): void {
  describe(name, () => {
    describeKeys(open)
    describeCreate(open)
    describeReplace(open)
    describeLifetime(open)
    describeCheck(open)
    describeRotate(open)
    describeUpdate(open)
    describeRevoke(open)
    describeList(open)
    describeIdentity(open)
    describeLimit(open)
    describeAudit(open)
    describeFeed(open)
  })
}
