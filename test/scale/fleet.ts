/**
 * Many simulated agents in one process: real sockets, real frames, a journal in memory, and no processes. Environment:
 * FLEET_URL, FLEET_FILE (JSON: [{agentId, agentToken}]), FLEET_EFFECTS (each start appends its command id there).
 */
import { randomUUID } from 'node:crypto';
import { appendFileSync, readFileSync } from 'node:fs';
import WebSocket from 'ws';
import { wholeEnvironment } from '../../config.ts';
import { PROTOCOL_VERSION, type RunFrame, type ServerFrame } from '../../contracts/agent-protocol.ts';
import { outputFrame, resultFrame, startedFrame, summaryOf } from '../support/scripted-agent.ts';

const MAX_RECONNECT_PAUSE_MS = 1_000;
/** Results that were not acked are sent again this often. */
const RESEND_INTERVAL_MS = 2_000;

const env = wholeEnvironment();
const url = `${(env.FLEET_URL ?? '').replace('http', 'ws')}/v1/agent`;
const identities = JSON.parse(readFileSync(env.FLEET_FILE ?? '', 'utf8')) as {
  agentId: string;
  agentToken: string;
}[];
let greeted = 0;

const runAgent = ({ agentId, agentToken }: { agentId: string; agentToken: string }): void => {
  const journalId = randomUUID();
  const known = new Map<string, { run: RunFrame; isAcked: boolean }>();
  let wasGreeted = false;

  const connect = (): void => {
    const ws = new WebSocket(url, {
      headers: { authorization: `Bearer ${agentToken}` },
      perMessageDeflate: false,
    });
    const send = (frame: unknown): void => ws.send(JSON.stringify(frame));
    const report = (run: RunFrame): void => {
      const output = `${agentId}\n`;
      send(startedFrame(run));
      send(outputFrame(run, 'stdout', 0, output));
      send(resultFrame(run, { stdout: summaryOf(output) }));
    };
    const resend = setInterval(() => {
      if (ws.readyState !== WebSocket.OPEN) return;
      for (const { run, isAcked } of known.values()) if (!isAcked) report(run);
    }, RESEND_INTERVAL_MS);
    ws.on('open', () =>
      send({
        type: 'hello',
        protocol: PROTOCOL_VERSION,
        agentId,
        journalId,
        journalSeq: known.size,
        delivery: 'websocket',
        hostname: agentId,
        os: 'Simulated 1',
        arch: 'x64',
        version: '0.1.0',
        capabilities: ['shell', 'argv'],
        shells: ['sh'],
        defaultShell: 'sh',
      }),
    );
    ws.on('message', (data) => {
      const frame = JSON.parse(data.toString()) as ServerFrame;
      if (frame.type === 'welcome' && !wasGreeted) {
        wasGreeted = true;
        greeted += 1;
        if (greeted === identities.length) console.log('fleet_ready');
      } else if (frame.type === 'run') {
        const before = known.get(frame.commandId);
        if (before === undefined && frame.resume)
          return send({ type: 'notKnown', commandId: frame.commandId });
        if (before === undefined) {
          appendFileSync(env.FLEET_EFFECTS ?? '', `${frame.commandId}\n`);
          known.set(frame.commandId, { run: frame, isAcked: false });
        }
        report(before?.run ?? frame);
      } else if (frame.type === 'resultAck') {
        const entry = known.get(frame.commandId);
        if (entry !== undefined) entry.isAcked = true;
      }
    });
    ws.on('error', () => undefined);
    ws.on('close', () => {
      clearInterval(resend);
      setTimeout(connect, Math.random() * MAX_RECONNECT_PAUSE_MS);
    });
  };
  connect();
};

process.on('SIGTERM', () => process.exit(0));
for (const identity of identities) runAgent(identity);
