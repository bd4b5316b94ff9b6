/** The measurements of fleets, for the table of bench/sections.ts. */
import type { Installation } from '../installation.ts';
import { benchFanOut } from './fan-out.ts';
import { benchFleet } from './idle.ts';
import { benchSync } from './sync.ts';

type Report = (what: string) => void;

/** Transactions of presence that write, a second, whatever the fleet. */
const WRITES_GOAL_PER_SECOND = 2;
/** A command to a thousand agents against the floor. */
const FAN_OUT_GOAL = 2;
/** One command over HTTP against the floor: the goal of (b). */
const SYNC_GOAL = 3;

const ms = (value: number): string => `${value.toFixed(1)} ms`;
const verdict = (isMet: boolean): string => (isMet ? 'met' : 'NOT MET');

export const fleetSections = {
  async fleet(installation: Installation, report: Report, quick: boolean) {
    const scale = quick ? { half: 1_000, windowMs: 15_000 } : { half: 5_000, windowMs: 60_000 };
    const figures = await benchFleet(installation, report, scale);
    const { agents, storm, fleet } = figures;
    const row = (measured: string, value: string, goal = '-', isMet: boolean | null = null) => ({
      measured: `(i) ${measured}`,
      value,
      goal,
      verdict: isMet === null ? '-' : verdict(isMet),
    });
    const rows = [
      row(
        `${agents} idle agents: memory of the API per connection`,
        `${figures.kilobytesPerConnection.toFixed(1)} KB`,
      ),
      row('CPU of the API per 1,000 heartbeats', ms(figures.apiCpuMsPerThousand)),
      row('CPU of PostgreSQL per 1,000 heartbeats', ms(figures.postgresCpuMsPerThousand)),
      row('heartbeats a second', figures.heartbeatsPerSecond.toFixed(0)),
      row(
        'transactions that write, a second, beyond the idle installation',
        fleet.transactionIds.toFixed(2),
        `<= ${WRITES_GOAL_PER_SECOND}`,
        fleet.transactionIds <= WRITES_GOAL_PER_SECOND,
      ),
      row('rows they write, a second', fleet.rowsWritten.toFixed(0)),
      row('connections lost in that time', String(figures.lostWhileIdle), '0', figures.lostWhileIdle === 0),
      row(
        `${storm.agents} return at once: attempts that failed, connections lost`,
        `${storm.failedAttempts} + ${storm.lost}`,
        '0',
        storm.failedAttempts + storm.lost === 0,
      ),
      row(
        'connections lost meanwhile of the others',
        String(storm.lostOfOthers),
        '0',
        storm.lostOfOthers === 0,
      ),
      row('until the last has its welcome (median)', `${ms(storm.ms)} (${ms(storm.medianMs)})`),
      row('welcomes a second', ((storm.agents * 1_000) / storm.ms).toFixed(0)),
    ];
    return { rows, figures };
  },
  async fanout(installation: Installation, report: Report, quick: boolean) {
    const scale = { agents: 1_000, ...(quick ? { rounds: 4, warmUp: 2 } : { rounds: 15, warmUp: 5 }) };
    const figures = await benchFanOut(installation, report, scale);
    const ratio = figures.ours.p50 / figures.floor.p50;
    const expected = (scale.rounds + scale.warmUp) * scale.agents;
    const isRecorded = figures.recorded.succeeded === expected;
    const row = {
      measured: `(j) one command to ${figures.agents} agents: all results recorded, p50`,
      ours: ms(figures.ours.p50),
      peer: ms(figures.floor.p50),
      'peer is': 'ws and two batched commits',
      ratio: ratio.toFixed(2),
      goal: `<= ${FAN_OUT_GOAL}`,
      verdict: verdict(ratio <= FAN_OUT_GOAL && isRecorded),
    };
    return { rows: [row], figures: { ...figures, ratio } };
  },
  async sync(installation: Installation, report: Report, quick: boolean) {
    const scale = quick ? { rounds: 1, samples: 50 } : { rounds: 4, samples: 150 };
    const figures = await benchSync(installation, report, scale);
    const ratio = figures.ours.p50 / figures.floor.p50;
    const row = {
      measured: '(k) synchronous execute (DexAgent): latency p50',
      ours: ms(figures.ours.p50),
      peer: ms(figures.floor.p50),
      'peer is': 'bare Koa: insert, ws round trip, update',
      ratio: ratio.toFixed(2),
      goal: `<= ${SYNC_GOAL}`,
      verdict: verdict(ratio <= SYNC_GOAL),
    };
    return { rows: [row], figures: { ...figures, ratio } };
  },
};
