/**
 * An agent program whose executor starts the process and then never returns: to be killed between INTENT and STARTED.
 */
import { spawn } from 'node:child_process';
import { createAgent } from '../../agent/agent.ts';

const { STEELTHREAD_URL: url = '', STEELTHREAD_AGENT_HOME: home = '' } = process.env;
createAgent({
  url,
  home,
  agentId: 'test-agent',
  token: 'test-token',
  executor: {
    start: ({ commandId, act }) => {
      const script = act.mode === 'shell' ? act.script : '';
      spawn('bash', ['-c', script], {
        detached: true,
        stdio: 'ignore',
        env: { PATH: process.env.PATH, STEELTHREAD_COMMAND_ID: commandId },
      });
      for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    },
    killLeftovers: () => Promise.resolve(0),
  },
});
