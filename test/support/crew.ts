/** A few scripted agents on real sockets, each of which ends what it is given as the test says. */
import type { RunFrame } from '../../contracts/agent-protocol.ts';
import { connectScriptedAgent, resultFrame, type ScriptedAgent, startedFrame } from './scripted-agent.ts';
import type { System } from './system.ts';

/** An exit code at once, or `hold`: it runs until `release`. */
export type Answer = number | 'hold';

export interface Crew {
  agentIds: string[];
  /** `<agent id> <command id>` of every run frame, in the order they came. */
  runs: { agentId: string; commandId: string }[];
  /** How many run frames an agent got. */
  runsOf(agentId: string): number;
  /** What an agent does from now on; 0 unless said. */
  set(agentId: string, answer: Answer): void;
  /** End what this agent holds, and hold nothing more. */
  release(agentId: string, exitCode?: number): void;
  leave(agentId: string): Promise<void>;
  join(agentId: string): Promise<void>;
  close(): Promise<void>;
}

export async function startCrew(
  system: System,
  names: readonly string[],
  facts: Record<string, { shells?: string[]; defaultShell?: string }> = {},
): Promise<Crew> {
  const tokens = new Map<string, string>();
  const agents = new Map<string, ScriptedAgent>();
  const answers = new Map<string, Answer>();
  const held = new Map<string, RunFrame>();
  const journals = new Map<string, string>();
  const runs: Crew['runs'] = [];

  const finish = (agentId: string, run: RunFrame, exitCode: number): void => {
    const outcome = exitCode === 0 ? 'succeeded' : 'failed';
    agents.get(agentId)?.send(resultFrame(run, { outcome, exitCode }));
  };
  const take = (agentId: string, run: RunFrame): void => {
    runs.push({ agentId, commandId: run.commandId });
    agents.get(agentId)?.send(startedFrame(run));
    const answer = answers.get(agentId) ?? 0;
    if (answer === 'hold') held.set(agentId, run);
    else finish(agentId, run, answer);
  };
  const crew: Crew = {
    agentIds: [...names],
    runs,
    runsOf: (agentId) => runs.filter((run) => run.agentId === agentId).length,
    set: (agentId, answer) => void answers.set(agentId, answer),
    release(agentId, exitCode = 0) {
      answers.set(agentId, exitCode);
      const run = held.get(agentId);
      held.delete(agentId);
      if (run !== undefined) finish(agentId, run, exitCode);
    },
    async leave(agentId) {
      await agents.get(agentId)?.close();
      await system.until(
        () => system.call<{ status: string }>('GET', `/v1/agents/${agentId}`),
        (agent) => agent.status === 'offline',
        `${agentId} is offline`,
      );
    },
    async join(agentId) {
      const agent = await connectScriptedAgent({
        url: system.url,
        agentId,
        token: tokens.get(agentId) ?? '',
        journalId: journals.get(agentId) ?? '',
        hello: { ...facts[agentId] },
        greets: false,
      });
      agents.set(agentId, agent);
      agent.onFrame((frame) => {
        if (frame.type === 'run') take(agentId, frame);
        if (frame.type === 'cancel') {
          const run = held.get(agentId);
          held.delete(agentId);
          if (run !== undefined) agent.send(resultFrame(run, { outcome: 'canceled', exitCode: null }));
        }
      });
      agent.greet();
      await agent.take('welcome');
    },
    async close() {
      await Promise.all([...agents.values()].map((agent) => agent.close()));
    },
  };
  for (const name of names) {
    tokens.set(name, (await system.enrol(name)).agentToken);
    journals.set(name, crypto.randomUUID());
    await crew.join(name);
  }
  return crew;
}
