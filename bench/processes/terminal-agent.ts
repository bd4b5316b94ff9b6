/** A real agent that offers terminals. Environment: STEELTHREAD_URL, AGENT_ID, AGENT_TOKEN, AGENT_HOME. */
import { createAgent } from '../../agent/agent.ts';

const { STEELTHREAD_URL: url, AGENT_ID: agentId, AGENT_TOKEN: token, AGENT_HOME: home } = process.env;
if (url === undefined || agentId === undefined || token === undefined || home === undefined) {
  throw new Error('STEELTHREAD_URL, AGENT_ID, AGENT_TOKEN and AGENT_HOME are needed');
}

const agent = createAgent({ url, agentId, token, home, metrics: false, terminals: { shell: 'sh' } });
process.on('SIGTERM', () => void agent.close({ drainMs: 0 }));
await agent.ready;
console.log('terminal_agent_ready');
await agent.done;
