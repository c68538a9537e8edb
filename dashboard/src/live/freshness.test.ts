// Hazard: the page says Live although what it shows is old, or says that it is delayed because clocks differ.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { delayMs, LIVE_MS, unproven, withWatermark, type Freshness } from './freshness'

/** A server with a clock of its own, and a page with another: only this class knows both. */
class Path {
  freshness: Freshness = unproven
  now = 0

  constructor(
    private serverAhead: number,
    private readonly epoch = 'e1',
  ) {}

  /** Let a beat be made now, travel, be published, and travel on; the page is where it arrives. */
  beat(toPublication: number, toPage: number): this {
    const at = this.now + this.serverAhead
    const publishedAt = at + toPublication
    this.now += toPublication + toPage
    this.freshness = withWatermark(this.freshness, { epoch: this.epoch, at, publishedAt }, this.now)
    return this
  }

  after(ms: number): this {
    this.now += ms
    return this
  }

  setServerClock(by: number): this {
    this.serverAhead += by
    return this
  }

  get delay(): number {
    return delayMs(this.freshness, this.now)
  }
}

const hour = 3_600_000

describe('delay', () => {
  it('is unknown, and not live, before the first watermark', () => {
    expect(delayMs(unproven, 5_000)).toBe(Number.POSITIVE_INFINITY)
  })

  it.each([0, hour, -hour, 1.7e12])('does not depend on how far the clocks of server and page differ: %d ms', (ahead) => {
    const path = new Path(ahead).beat(40, 10).after(1_000).beat(40, 10)
    expect(path.delay).toBeLessThan(100)
    expect(path.after(2_000).delay).toBeLessThan(LIVE_MS)
    expect(path.after(1_000).delay).toBeGreaterThan(LIVE_MS)
  })

  it('counts how long the beat travelled to its publication, as behind a backlog', () => {
    expect(new Path(hour).beat(45_000, 10).delay).toBe(45_000)
  })

  it('counts a gateway or network that has begun to lag behind', () => {
    const path = new Path(hour).beat(40, 10).after(1_000).beat(40, 20_010)
    expect(path.delay).toBe(20_040)
  })

  it.each([-hour, hour])('is right again with the next watermark after the server’s clock was set by %d ms', (by) => {
    const path = new Path(0).beat(40, 10).after(1_000).beat(40, 10).setServerClock(by).after(1_000)
    expect(path.beat(40, 10).delay).toBeLessThan(100)
    expect(path.after(1_000).beat(40, 10).delay).toBeLessThan(100)
  })

  it('does not grow with the drift of the clocks', () => {
    const path = new Path(0)
    for (let second = 0; second < 8 * 3600; second += 1) path.setServerClock(-0.1).after(1_000).beat(40, 10)
    expect(path.delay).toBeLessThan(200)
  })

  it('is never less than the time since the beat was made, whatever the ways of the watermarks', () => {
    // All within the time for which the shortest way is remembered.
    const way = fc.integer({ min: 0, max: 6_000 })
    fc.assert(
      fc.property(fc.integer({ min: -1e9, max: 1e9 }), fc.array(fc.tuple(way, way), { minLength: 1, maxLength: 25 }), (ahead, ways) => {
        const path = new Path(ahead)
        let shortest = Number.POSITIVE_INFINITY
        for (const [toPublication, toPage] of ways) {
          path.beat(toPublication, toPage)
          shortest = Math.min(shortest, toPage)
          // The page cannot know the shortest way itself, only what a watermark took more.
          expect(path.delay).toBeGreaterThanOrEqual(toPublication + toPage - shortest - 1e-6)
        }
      }),
    )
  })
})
