/**
 * Every step of the life of a task and its command at which a process can die, in order. Each point says how the way
 * there is arranged, and what the command's outcome must be when a process dies exactly there.
 */
import type { Run } from './run.ts';

export type Victim = 'worker' | 'api' | 'agent' | 'everything';

export interface Point {
  name: string;
  beforeCreate?(run: Run): Promise<void> | void;
  beforeDecision?(run: Run): Promise<void> | void;
  /** The command runs and half of its output is stored; afterwards it is let go, unless `killsWhileRunning`. */
  beforeRelease?(run: Run): Promise<void> | void;
  /** Resolves at the point. */
  reach(run: Run): Promise<unknown>;
  /** A step of the command's delivery: it is different for each kind of delivery. */
  isDelivery?: true;
  /** The command is let go only after the kill. Default false. */
  killsWhileRunning?: true;
  /** Default `succeeded`: nothing is lost. */
  outcome?: Partial<Record<Victim, 'unknown'>>;
}

/** The agent cannot know how a command ended that it had begun: it says so. */
const lostByAgent = { agent: 'unknown', everything: 'unknown' } as const;

const holdTemporal = (run: Run): void => {
  run.stage.gates.apiTemporal.hold('up');
  run.stage.gates.workerTemporal.hold('up');
};

/** The worker's answer to Temporal is held before the model answers, so its transaction commits and nobody hears. */
const commitUnheard = async (run: Run): Promise<void> => {
  await run.untilHeld('model', 'down');
  run.stage.gates.workerTemporal.hold('up');
  run.stage.gates.model.release();
};

const takeAgentAway = async (run: Run): Promise<void> => {
  await run.stage.agent.kill();
  await run.untilAgentIsAway();
};

export const points: readonly Point[] = [
  {
    name: 'the task row is committed',
    reach: (run) => run.untilChange('tasks', 'created'),
  },
  {
    name: 'the task is committed, Temporal has not heard of it',
    beforeCreate: holdTemporal,
    reach: (run) => run.untilChange('outbox', 'start_task'),
  },
  {
    name: 'the model is thinking',
    beforeCreate: (run) => run.stage.gates.model.hold('down'),
    reach: (run) => run.untilHeld('model', 'down'),
  },
  {
    name: 'the proposal is committed, the workflow has not heard of it',
    beforeCreate: (run) => run.stage.gates.model.hold('down'),
    reach: async (run) => {
      await commitUnheard(run);
      await run.untilChange('steps', 'proposed');
    },
  },
  {
    name: 'the decision is committed, the workflow has not heard of it',
    isDelivery: true,
    beforeDecision: (run) => {
      holdTemporal(run);
      run.stage.gates.agents.holdFrom('down', '"type":"run"'); // the command itself does not wait for Temporal
    },
    reach: (run) => run.untilChange('outbox', 'decided'),
  },
  {
    name: 'the command waits for an agent that is away',
    isDelivery: true,
    beforeDecision: takeAgentAway,
    reach: (run) => run.untilChange('commands', 'queued'),
  },
  {
    name: 'the command is claimed for an agent that came back, the frame is on the wire',
    isDelivery: true,
    beforeDecision: takeAgentAway,
    reach: async (run) => {
      await run.untilChange('commands', 'queued');
      run.stage.gates.agents.holdFrom('down', '"type":"run"');
      await run.stage.agent.start();
      await run.untilHeld('agents', 'down');
    },
  },
  {
    name: 'the command is sent, the frame is on the wire',
    beforeDecision: (run) => run.stage.gates.agents.holdFrom('down', '"type":"run"'),
    reach: (run) => run.untilHeld('agents', 'down'),
  },
  {
    name: 'the process runs, its start is not reported',
    isDelivery: true,
    beforeDecision: (run) => run.stage.gates.agents.holdFrom('down', '"type":"run"'),
    reach: async (run) => {
      await run.untilHeld('agents', 'down');
      run.stage.gates.agents.hold('up');
      run.stage.gates.agents.release('down');
      await run.untilEffect();
    },
    killsWhileRunning: true,
    outcome: lostByAgent,
  },
  {
    name: 'the command is running',
    reach: (run) => run.untilChange('commands', 'running'),
    killsWhileRunning: true,
    outcome: lostByAgent,
  },
  {
    name: 'half of the output is stored',
    isDelivery: true,
    reach: (run) => run.untilChange('command_output', 'stored'),
    killsWhileRunning: true,
    outcome: lostByAgent,
  },
  {
    name: 'the process has ended, the result is on the wire',
    isDelivery: true,
    beforeRelease: (run) => run.stage.gates.agents.hold('up'),
    reach: (run) => run.untilAgentSays('command_finished'),
  },
  {
    name: 'the outcome is committed, its ack is on the wire',
    isDelivery: true,
    // Of this command: a result that was sent twice is acked twice, the second time perhaps only now.
    beforeRelease: (run) =>
      run.stage.gates.agents.holdFrom('down', `"resultAck","commandId":"${run.commandId()}"`),
    reach: (run) => run.untilHeld('agents', 'down'),
  },
  {
    name: 'the outcome is committed, the workflow has not heard of it',
    beforeRelease: holdTemporal,
    reach: (run) => run.untilChange('outbox', 'batchFinished'),
  },
  {
    name: 'the model is judging the outcome',
    beforeRelease: (run) => run.stage.gates.model.hold('down'),
    reach: (run) => run.untilHeld('model', 'down'),
  },
  {
    name: 'the end is committed, the workflow has not heard of it',
    beforeRelease: (run) => run.stage.gates.model.hold('down'),
    reach: async (run) => {
      await commitUnheard(run);
      await run.untilChange('tasks', 'completed');
    },
  },
];
