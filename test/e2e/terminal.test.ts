/** Terminals from the client to the PTY on a real agent and back. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isAlive } from '../../agent/proc.ts';
import type { TerminalSessionView } from '../../contracts/terminals.ts';
import { inTransaction, query } from '../../db/database.ts';
import { insertTerminalLog, type NewTerminalLogRow } from '../../db/terminal-log.ts';
import { addAccount, userPassword } from '../support/second-factor.ts';
import { type System, startSystem } from '../support/system.ts';
import { openTerminal, type TerminalClientOptions, type TestTerminal } from '../support/terminal-client.ts';

const MEBIBYTE = 1024 * 1024;

let system: System;
let open: TestTerminal[] = [];

beforeAll(async () => {
  system = await startSystem({
    worker: false,
    env: { AGENT_TOKEN: 'the-shared-agent-token-of-this-test', HOST_TERMINAL: 'on', LOCAL_AGENT_ID: 'one' },
  });
  await system.startAgent({ agentId: 'one', terminals: { shell: 'sh' } });
  await system.startAgent({ agentId: 'bare' });
});
afterEach(async () => {
  const last = open;
  open = [];
  for (const terminal of last) {
    const id = terminal.sessionId().slice(3);
    if (id !== '') await system.request('POST', `/v1/terminal/sessions/${id}/end`, {});
    terminal.cut();
  }
});
afterAll(() => system.close());

const terminalOn = (options: TerminalClientOptions = {}): TestTerminal => {
  const terminal = openTerminal(system, options);
  open.push(terminal);
  return terminal;
};
/** On the agent, past `ready`, with a prompt that no output looks like. */
const startShell = async (options: TerminalClientOptions = {}): Promise<TestTerminal> => {
  const terminal = terminalOn({ agentId: 'one', ...options });
  await terminal.ready;
  return terminal;
};
const sessionOf = (terminal: TestTerminal) =>
  system.call<TerminalSessionView>('GET', `/v1/terminal/sessions/${terminal.sessionId().slice(3)}`);
const untilEnded = (terminal: TestTerminal) =>
  system.until(
    () => sessionOf(terminal),
    ({ state }) => state === 'ended',
    'the end',
  );
const path = (name: string): string => join(system.env.STEELTHREAD_HOME ?? '', name);

const login = async (username: string): Promise<string> => {
  const { accessToken } = await system.call<{ accessToken: string }>('POST', '/v1/auth/login', {
    username,
    password: userPassword,
  });
  return accessToken;
};
const addOperator = async (username: string): Promise<{ id: string; token: string }> => {
  const { createPasswordHasher } = await import('../../domain/identity/passwords.ts');
  const deps = { passwords: createPasswordHasher({ cost: 4 }) };
  const stack = { db: system.api.parts.db, deps } as never;
  const id = await addAccount(stack, username, { role: 'operator' });
  return { id, token: await login(username) };
};

describe('an interactive terminal', () => {
  it('runs a shell, echoes and ends with its exit code', async () => {
    const terminal = await startShell();
    const { data } = await terminal.ready;
    expect(data).toMatchObject({ mode: 'interactive', read_only: false, agent_id: 'one', offset: 0 });
    expect(data.session_id).toMatch(/^ws-[0-9a-f-]{36}$/);
    terminal.type('echo $((6*7))-$STEELTHREAD_COMMAND_ID; tty\n');
    await terminal.until(`42-${String(data.session_id).slice(3)}`);
    await terminal.until('/dev/pts/');
    terminal.type('exit 3\n');
    expect(await terminal.frame('exit')).toMatchObject({ data: { reason: 'exited', exit_code: 3 } });
    expect((await terminal.closed).code).toBe(1000);
    expect(await sessionOf(terminal)).toMatchObject({
      agentId: 'one',
      state: 'ended',
      endReason: 'exited',
      exitCode: 3,
      survivors: 0,
      openedBy: { name: 'admin' },
      outputBytes: terminal.length(),
    });
  });

  it('takes what is no frame of its dialect as input, and a frame it does not know as nothing', async () => {
    const terminal = await startShell();
    terminal.send('echo raw-$((1+1))\n');
    await terminal.until('raw-2');
    terminal.send({ type: 'surprise', data: 'echo no\n' });
    expect(await terminal.frame('error')).toMatchObject({ data: { message: 'unknown_frame' } });
    terminal.send('{"type": echo brace\n');
    terminal.send('17\n');
    await terminal.until('brace');
    await terminal.until(/17.*not found/s);
  });

  it('has the size it was asked for, and another one when told', async () => {
    const terminal = await startShell({ query: { cols: '132', rows: '43' } });
    terminal.type('stty size\n');
    await terminal.until('43 132');
    terminal.send({ type: 'resize', data: { cols: 100, rows: 30 } });
    terminal.type('stty size\n');
    await terminal.until('30 100');
    const odd = await startShell({ query: { cols: 'x', rows: '0', mode: 'strange' } });
    odd.type('stty size\n');
    await odd.until('24 80');
  });

  it('gives a character whole that the program wrote in two pieces', async () => {
    const gate = path('gate-utf8');
    const terminal = await startShell();
    terminal.type(
      `stty -echo; printf 'A\\303'; while [ ! -e ${gate} ]; do sleep 0.02; done; printf '\\251B\\n'\n`,
    );
    await terminal.until(/A$/);
    writeFileSync(gate, '');
    await terminal.until('AéB');
    expect(terminal.output().toString()).not.toContain('\ufffd');
  });

  it('gives a character whole to a client that comes back in the middle of it', async () => {
    const gate = path('gate-utf8-back');
    const terminal = await startShell();
    terminal.type(
      `stty -echo; printf 'A\\342\\202'; while [ ! -e ${gate} ]; do sleep 0.02; done; printf '\\254B\\n'\n`,
    );
    await terminal.until(/A$/);
    const last = await system.until(
      async () => terminal.frames.filter(({ type }) => type === 'output').at(-1),
      (frame) => frame?.data.chunk === '' || String(frame?.data.chunk).endsWith('A'),
      'the beginning of a character',
    );
    terminal.cut();
    await terminal.closed;
    const back = terminalOn({ sessionId: terminal.sessionId(), offset: Number(last?.data.offset) });
    await back.ready;
    writeFileSync(gate, '');
    await back.until(/B\r?\n/);
    expect(back.output().toString()).toMatch(/^€B/);
  });

  it('carries bytes as they are in binary', async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
    const file = path('all-bytes');
    writeFileSync(file, Buffer.concat([all, all.reverse()]));
    const terminal = await startShell({ binary: true });
    terminal.type(`stty raw -echo; printf '>%s<' begin; cat ${file}; printf '>%s<' end\n`);
    await terminal.until('>end<');
    const text = terminal.output().toString('latin1');
    const got = text.slice(text.indexOf('>begin<') + 7, text.indexOf('>end<'));
    expect(Buffer.from(got, 'latin1')).toEqual(readFileSync(file));
  });

  it('opens on the host of the API where that is on', async () => {
    const terminal = terminalOn();
    expect((await terminal.ready).data).toMatchObject({ agent_id: 'one' });
  });
});

describe('who may', () => {
  const refusal = async (options: TerminalClientOptions): Promise<unknown> => {
    const terminal = terminalOn(options);
    const { code } = await terminal.closed;
    const [first] = terminal.frames;
    expect(terminal.frames).toHaveLength(1);
    expect(first?.type).toBe('error');
    return [first?.data.message, code];
  };

  it('tells who has no right, in the words of the contract, and closes', async () => {
    expect(await refusal({ agentId: 'one', token: null })).toEqual(['unauthorized', 1008]);
    expect(await refusal({ agentId: 'one', token: 'nonsense' })).toEqual(['unauthorized', 1008]);
    const shared = system.env.AGENT_TOKEN ?? '';
    expect(await refusal({ agentId: 'one', token: shared })).toEqual(['forbidden', 1008]);
    const { token } = await addOperator('plain-operator');
    expect(await refusal({ agentId: 'one', token })).toEqual(['forbidden', 1008]);
    expect(await refusal({ query: { mode: 'read' }, token })).toEqual(['forbidden', 1008]);
    expect(await refusal({ agentId: 'nobody' })).toEqual(['agent_not_found', 1008]);
    expect(await refusal({ agentId: 'bare' })).toEqual(['terminal_unavailable', 1008]);
    await system.enrol('absent');
    expect(await refusal({ agentId: 'absent' })).toEqual(['terminal_unavailable', 1008]);
    expect(await refusal({ agentId: 'one', query: { offset: '-1' } })).toEqual(['validation_failed', 1008]);
    const unknown = '01890000-0000-7000-8000-000000000000';
    expect(await refusal({ sessionId: unknown })).toEqual(['terminal_not_found', 1008]);
  });

  it('takes the token in the query, but the header goes before it', async () => {
    const byQuery = await startShell({ token: null, query: { token: system.token() } });
    expect(byQuery.sessionId()).not.toBe('');
    expect(await refusal({ agentId: 'one', token: 'x', query: { token: system.token() } })).toEqual([
      'unauthorized',
      1008,
    ]);
    expect(JSON.stringify(system.lines)).not.toContain(system.token());
  });

  it('lets an account with the right besides its role have its own terminals, and no others', async () => {
    const theirs = await startShell();
    const { id, token } = await addOperator('trusted-operator');
    await system.call('PUT', `/v1/users/${id}/terminal-right`, { isAllowed: true });
    const own = await startShell({ token });
    const page = await system.call<{ items: TerminalSessionView[] }>(
      'GET',
      '/v1/terminal/sessions',
      undefined,
      { token },
    );
    expect(page.items.map((each) => each.id)).toEqual([own.sessionId().slice(3)]);
    const foreign = theirs.sessionId().slice(3);
    for (const [method, suffix] of [
      ['GET', ''],
      ['GET', '/recording'],
      ['POST', '/end'],
    ] as const) {
      const reply = await system.request(
        method,
        `/v1/terminal/sessions/${foreign}${suffix}`,
        method === 'POST' ? {} : undefined,
        { token },
      );
      expect(reply.status).toBe(404);
    }
    // An administrator ends it, but nobody comes back to what another one opened.
    expect(await refusal({ sessionId: foreign, token })).toEqual(['terminal_not_found', 1008]);
    expect(await refusal({ sessionId: own.sessionId() })).toEqual(['terminal_not_found', 1008]);

    // The right ends: so does the terminal, within the promise.
    await system.call('PUT', `/v1/users/${id}/terminal-right`, { isAllowed: false });
    expect(await own.closed).toMatchObject({ code: 1008 });
    expect(await untilEnded(own)).toMatchObject({ endReason: 'its credential has ended' });
  });

  it('writes the audit row before the agent hears of the session (P6)', async () => {
    const terminal = await startShell();
    const id = terminal.sessionId().slice(3);
    const rows = await query<{ action: string; before: boolean; opened: boolean }>(
      system.api.parts.db,
      `select a.action, s.opened_at is null or a.at <= s.opened_at as before, s.opened_at is not null as opened
       from audit_events a join terminal_sessions s on cast(s.id as text) = a.target_id
       where a.target_id = :id order by a.id`,
      { id },
    );
    expect(rows.map(({ action, before }) => [action, before])).toEqual([['terminal.open', true]]);
    terminal.type('exit\n');
    await terminal.closed;
    const actions = await query<{ action: string }>(
      system.api.parts.db,
      `select action from audit_events where target_id = :id order by id`,
      { id },
    );
    expect(actions.map(({ action }) => action)).toEqual(['terminal.open', 'terminal.close']);
  });

  it('forwards nothing when the audit row cannot be written (P6)', async () => {
    const { db } = system.api.parts;
    await db.raw(`create function refuse_terminal_audit() returns trigger language plpgsql as
      $$ begin if new.action = 'terminal.open' then raise exception 'no'; end if; return new; end $$`);
    await db.raw(
      'create trigger refuse_terminal_audit before insert on audit_events for each row execute function refuse_terminal_audit()',
    );
    try {
      const terminal = terminalOn({ agentId: 'one' });
      await terminal.closed;
      expect(terminal.frames).toMatchObject([{ type: 'error', data: { message: 'internal_error' } }]);
    } finally {
      await db.raw('drop trigger refuse_terminal_audit on audit_events');
    }
    const rows = await query(db, `select 1 from terminal_sessions where state = 'opening'`);
    expect(rows).toEqual([]);
  });
});

describe('coming back', () => {
  it('loses nothing and gets nothing twice when the connection breaks in the middle of output', async () => {
    const bytes = 4 * MEBIBYTE;
    const lines = Buffer.from(
      Array.from({ length: bytes / 16 }, (_, at) => `${String(at).padStart(15, '0')}\n`).join(''),
    );
    const file = path('many-lines');
    writeFileSync(file, lines);
    const gate = path('gate-cuts');
    let terminal = await startShell({ binary: true });
    const id = terminal.sessionId();
    // The end is held back until the last client is there: a busy machine may give all before the last cut.
    terminal.type(
      `stty raw -echo; printf '>%s<' begin; cat ${file}; while [ ! -e ${gate} ]; do sleep 0.02; done; printf '>%s<' end\n`,
    );
    const parts: Buffer[] = [];
    let offset = 0;
    const take = (from: TestTerminal): void => {
      parts.push(from.output());
      offset += from.length();
    };
    for (let cut = 1; cut <= 4; cut++) {
      await system.until(
        async () => offset + terminal.length(),
        (length) => length >= (cut * bytes) / 6,
        `part ${cut}`,
      );
      terminal.cut();
      await terminal.closed;
      take(terminal);
      terminal = terminalOn({ sessionId: id, offset, binary: true });
      expect((await terminal.ready).data).toMatchObject({ session_id: id, offset, resumed: true });
    }
    writeFileSync(gate, '');
    await terminal.until('>end<');
    take(terminal);
    const text = Buffer.concat(parts).toString('latin1');
    const got = text.slice(text.indexOf('>begin<') + 7, text.indexOf('>end<'));
    const digest = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
    expect(got.length).toBe(lines.length);
    expect(digest(Buffer.from(got, 'latin1'))).toBe(digest(lines));
  });

  it('shows what is kept to who names no offset, and the newest client has the session', async () => {
    const first = await startShell();
    first.type('echo seen-$((1+2))\n');
    await first.until('seen-3');
    const second = terminalOn({ sessionId: first.sessionId() });
    await second.ready;
    expect(await first.closed).toMatchObject({ code: 4001 });
    await second.until('seen-3');
    second.type('echo again-$((2+2))\n');
    await second.until('again-4');
    const actions = await query<{ action: string }>(
      system.api.parts.db,
      `select action from audit_events where target_id = :id order by id`,
      { id: first.sessionId().slice(3) },
    );
    expect(actions.map(({ action }) => action)).toEqual(['terminal.open', 'terminal.attach']);
  });

  it('finds the session after a restart of the API, with all output and what was typed', async () => {
    const gate = path('gate-restart');
    const terminal = await startShell({ binary: true });
    terminal.type(
      `stty -echo; i=0; while [ ! -e ${gate} ]; do i=$((i+1)); echo line $i; sleep 0.01; done; echo last $i\n`,
    );
    await terminal.until('line 20');
    const before = terminal.length();
    await system.restartApi();
    await terminal.closed;
    const back = await system.until(
      async () => {
        const next = terminalOn({ sessionId: terminal.sessionId(), offset: before, binary: true });
        const frame = await Promise.race([next.ready, next.frame('error')]);
        return frame.type === 'ready' ? next : null;
      },
      (next) => next !== null,
      'the session',
    );
    writeFileSync(gate, '');
    await back?.until(/last \d+/);
    const text = Buffer.concat([terminal.output().subarray(0, before), back?.output() ?? Buffer.alloc(0)]);
    const numbers = [...text.toString().matchAll(/line (\d+)\r?\n/g)].map(([, number]) => Number(number));
    const last = Number(/last (\d+)/.exec(text.toString())?.[1]);
    expect(numbers).toEqual(Array.from({ length: last }, (_, at) => at + 1));
  });
});

describe('the end', () => {
  it('leaves nothing of it alive: background, nohup, setsid, jobs, and what ignores every polite signal', async () => {
    const pids = path('pids');
    const terminal = await startShell();
    const child = `trap '' TERM HUP INT; echo $$ >> ${pids}; while :; do sleep 0.2; done`;
    writeFileSync(path('child.sh'), child);
    const script = path('child.sh');
    terminal.type(
      `set -m; sh ${script} & nohup sh ${script} > /dev/null 2>&1 & setsid sh ${script} & setsid nohup sh -c "setsid sh ${script} & sh ${script}" > /dev/null 2>&1 & (sh ${script} &)\n`,
    );
    const found = () =>
      existsSync(pids) ? [...new Set(readFileSync(pids, 'utf8').split('\n').filter(Boolean))] : [];
    await system.until(
      async () => found().length,
      (count) => count >= 6,
      'six processes',
    );
    expect(found().filter((pid) => isAlive(Number(pid), null))).toHaveLength(6);
    terminal.send({ type: 'close' });
    expect(await terminal.frame('exit')).toMatchObject({ data: { survivors: 0 } });
    expect(found().filter((pid) => isAlive(Number(pid), null))).toEqual([]);
    expect(await sessionOf(terminal)).toMatchObject({ endReason: 'closed by its client', survivors: 0 });
  });

  it('comes when somebody asks for it, with who did, and again changes nothing', async () => {
    const terminal = await startShell();
    const url = `/v1/terminal/sessions/${terminal.sessionId().slice(3)}`;
    const asked = await system.request<TerminalSessionView>('POST', `${url}/end`, { reason: 'enough' });
    expect(asked.status).toBe(202);
    expect(await terminal.frame('exit')).toMatchObject({ data: { reason: 'enough' } });
    expect(await untilEnded(terminal)).toMatchObject({ endReason: 'enough' });
    const again = await system.request<TerminalSessionView>('POST', `${url}/end`, {});
    expect(again).toMatchObject({ status: 200, body: { endReason: 'enough' } });
    const { items } = await system.call<{ items: TerminalSessionView[] }>(
      'GET',
      '/v1/terminal/sessions?state=ended&agentId=one&limit=1',
    );
    expect(items).toHaveLength(1);
  });

  it('comes by another process of the API as well', async () => {
    const other = await system.openApi();
    const terminal = await startShell();
    const reply = await fetch(`${other.url}/v1/terminal/sessions/${terminal.sessionId().slice(3)}/end`, {
      method: 'POST',
      headers: { authorization: `Bearer ${system.token()}`, 'content-type': 'application/json' },
      body: '{"reason":"from elsewhere"}',
    });
    expect(reply.status).toBe(202);
    expect(await terminal.frame('exit')).toMatchObject({ data: { reason: 'from elsewhere' } });
    const refused = openTerminal(system, { agentId: 'one', url: other.url });
    expect(await refused.frame('error')).toMatchObject({ data: { message: 'agent_not_connected' } });
  });

  it('is told of a session whose agent is another process now', async () => {
    const agent = await system.startAgent({ agentId: 'short-lived', terminals: { shell: 'sh' } });
    const terminal = await startShell({ agentId: 'short-lived' });
    await agent.close();
    expect(await untilEnded(terminal)).toMatchObject({ endReason: 'agent_stopping', survivors: 0 });
  });
});

describe('the recording', () => {
  interface Cast {
    header: Record<string, unknown>;
    events: [number, string, string][];
  }
  const cast = async (terminal: TestTerminal): Promise<Cast> => {
    const reply = await fetch(
      `${system.url}/v1/terminal/sessions/${terminal.sessionId().slice(3)}/recording`,
      {
        headers: { authorization: `Bearer ${system.token()}` },
      },
    );
    expect(reply.status).toBe(200);
    expect(reply.headers.get('content-type')).toBe('application/x-asciicast');
    const [header, ...events] = (await reply.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    return { header, events };
  };

  it('is an asciicast of everything that was shown, and of nothing that was typed', async () => {
    const terminal = await startShell({ query: { cols: '90', rows: '20' } });
    terminal.type("stty -echo; read secret; echo 'grüße'\n");
    await terminal.until('secret');
    terminal.type('hunter2\n');
    await terminal.until('grüße');
    terminal.send({ type: 'resize', data: { cols: 70, rows: 10 } });
    terminal.type('exit\n');
    await terminal.closed;
    const { header, events } = await cast(terminal);
    expect(header).toMatchObject({ version: 2, width: 90, height: 20, env: { TERM: 'xterm-256color' } });
    const shown = events.filter(([, kind]) => kind === 'o').map(([, , text]) => text);
    expect(shown.join('')).toBe(terminal.output().toString());
    expect(events.filter(([, kind]) => kind === 'r').map(([, , size]) => size)).toEqual(['70x10']);
    expect(events.some(([, kind]) => kind === 'i')).toBe(false);
    const times = events.map(([at]) => at);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(JSON.stringify(await query(system.api.parts.db, 'select entry from terminal_log'))).not.toContain(
      'hunter2',
    );
    expect(await sessionOf(terminal)).toMatchObject({ recording: { isTruncated: false, hasInput: false } });
  });

  it('has every byte once, however often it was sent', async () => {
    const terminal = await startShell();
    terminal.type('echo one-$((1+0))\n');
    await terminal.until('one-1');
    const back = terminalOn({ sessionId: terminal.sessionId() });
    await back.ready;
    await back.until('one-1');
    back.type('exit\n');
    await back.closed;
    const { events } = await cast(back);
    expect(
      events
        .map(([, , text]) => text)
        .join('')
        .split('one-1'),
    ).toHaveLength(2);
  });
});

describe('the log', () => {
  it('is read from its newest entries on, and goes on', async () => {
    const first = await startShell({ query: { forward_param: 'ticket-7' } });
    first.type('true\n');
    const reader = terminalOn({ query: { mode: 'read' } });
    expect((await reader.ready).data).toMatchObject({ mode: 'read', read_only: true });
    const entries = () =>
      reader.frames.filter(({ type }) => type === 'output').map(({ data }) => JSON.parse(String(data.chunk)));
    await reader.until(first.sessionId());
    expect(entries().length).toBeLessThanOrEqual(100);
    const [opened] = entries().filter((entry) => entry.session_id === first.sessionId());
    expect(opened).toMatchObject({
      event: 'session_open',
      mode: 'interactive',
      principal: 'admin',
      forward_param: 'ticket-7',
      remote_addr: expect.any(String),
      timestamp: expect.any(Number),
      timestamp_iso: expect.stringMatching(/Z$/),
    });
    // Typed as if it were a terminal: there is nothing to type into.
    reader.type('echo no\n');
    first.type('exit\n');
    await first.closed;
    await system.until(
      async () => entries().filter((entry) => entry.session_id === first.sessionId()),
      (found) => found.some(({ event }) => event === 'session_close'),
      'the end in the log',
    );
    const events = entries().filter((entry) => entry.session_id === first.sessionId());
    expect(events.map(({ event }) => event)).toEqual(['session_open', 'input', 'session_close']);
    expect(events[1]).toMatchObject({ bytes: 'true\nexit\n'.length });
    expect(events[1]).not.toHaveProperty('preview');
  });

  it('leaves out no entry that was written before another and committed after it', async () => {
    const session = await startShell();
    const reader = terminalOn({ query: { mode: 'read' } });
    await reader.until(session.sessionId());
    const row = (word: string): NewTerminalLogRow => ({
      sessionId: session.sessionId().slice(3),
      ownerId: 'somebody',
      event: 'input',
      entry: {
        timestamp: 0,
        timestamp_iso: word,
        session_id: session.sessionId(),
        event: 'input',
        mode: 'interactive',
        principal: 'admin',
        agent_id: 'one',
      },
    });
    const { db } = system.api.parts;
    await inTransaction(db, async (trx) => {
      await insertTerminalLog(trx, row('the-slow-one'));
      await insertTerminalLog(db, row('the-fast-one'));
      await reader.until('the-fast-one');
    });
    await reader.until('the-slow-one');
    expect(reader.output().toString().split('the-fast-one')).toHaveLength(2);
  });
});
