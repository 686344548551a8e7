// A part of redis-followers.ts: some followers of the feed, as many nodes would be.
import { Redis } from 'ioredis'
import { FeedFollower } from '../lib/feed.ts'
import { connect } from '../stores/redis/connection.ts'
import { RedisFeed } from '../stores/redis/feed.ts'
import { serveParent } from './support/children.ts'

const [url = '', key = '', count = '0'] = process.argv.slice(2)
const MINUTE = 60_000

const client = new Redis(url)
const followers: FeedFollower[] = []
let failed = 0
// One after the other: nodes do not start in one process at one moment.
while (followers.length < Number(count)) {
  const connection = connect(client, 'feed', () => undefined)
  const feed = new RedisFeed({ connection, key, retentionMs: 60 * MINUTE, clock: undefined })
  const follower = new FeedFollower({
    read: async (input) => feed.read(input),
    revoke: async () => {},
    retentionMs: 17 * MINUTE,
    maxStalenessMs: 5000,
    clockSkewMs: 30_000,
    deadlineMs: 250,
    clock: Date.now,
    onError: () => void failed++,
  })
  follower.start()
  await follower.ready
  followers.push(follower)
}

serveParent(async () => ({
  heard: followers.map(({ heardCount }) => heardCount),
  failed,
  blind: followers.filter((follower) => follower.blindness() !== null).length,
}))
