/** An agent like any other, journal and all, whose executor starts nothing. Environment: STEELTHREAD_URL, AGENT_ID, AGENT_TOKEN, AGENT_HOME. */
import { createAgent } from '../../agent/agent.ts';
import type { Executor } from '../../agent/executor.ts';

const { STEELTHREAD_URL: url, AGENT_ID: agentId, AGENT_TOKEN: token, AGENT_HOME: home } = process.env;
if (url === undefined || agentId === undefined || token === undefined || home === undefined) {
  throw new Error('STEELTHREAD_URL, AGENT_ID, AGENT_TOKEN and AGENT_HOME are needed');
}

const executor: Executor = {
  start: () => ({
    kind: 'started',
    pid: process.pid,
    processStart: null,
    done: Promise.resolve({ outcome: 'succeeded', exitCode: 0, signal: null, reason: null }),
    stop() {},
  }),
  killLeftovers: async () => 0,
};

const agent = createAgent({ url, agentId, token, home, executor, metrics: false });
process.on('SIGTERM', () => void agent.close({ drainMs: 0 }));
await agent.ready;
console.log('noop_agent_ready');
await agent.done;
