/** What clients of ananta have on their desks: things made over its routes, each new and with a name of its own. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { totpToken } from './second-factor.ts';
import type { Reply, System } from './system.ts';
import { deskOf } from './tasks.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The agent of the server's own machine. */
export const LOCAL_AGENT = 'local';
export const SHARED_TOKEN = 'shared-agent-token-of-the-contract';
/** Of every account that is made here. */
export const PASSWORD = 'Correct-Horse-8';
/** What the mock planner proposes `echo 1 passed` for. */
export const GOAL = 'run: echo 1 passed';
/** A schedule that is not due while a test runs. */
export const daily = { command: 'true', interval_seconds: 86_400 };

interface OwnUser {
  username: string;
  token: string;
}

export type AnantaDesk = ReturnType<typeof createAnantaDesk>;

/** @param given the system and a worker with an address, once they run */
export function createAnantaDesk(given: () => { system: System; workerUrl: string }) {
  let counter = 0;
  const next = (): string => `contract-${++counter}`;

  async function make<Data>(method: Method, path: string, body?: unknown, token?: string): Promise<Data> {
    const options = token === undefined ? {} : { token };
    return (await given().system.call<{ data: Data }>(method, path, body, options)).data;
  }
  const idOf = async (path: string, body: unknown): Promise<string> =>
    (await make<{ id: string }>('POST', path, body)).id;

  async function newUser(): Promise<OwnUser> {
    const username = next();
    return { username, token: await deskOf(given().system).addUser('user', username) };
  }
  /** A user who has begun to set up a second factor. */
  async function newSecret(): Promise<OwnUser & { secret: string }> {
    const user = await newUser();
    const { secret } = await make<{ secret: string }>('POST', '/mfa/setup', undefined, user.token);
    return { ...user, secret };
  }
  async function newMfaUser(): Promise<OwnUser & { secret: string; backupCode: string }> {
    const user = await newSecret();
    const verified = await make<{ access_token: string; backup_codes: string[] }>(
      ...(['POST', '/mfa/verify', { token: totpToken(user.secret) }, user.token] as const),
    );
    return { ...user, token: verified.access_token, backupCode: verified.backup_codes[0] ?? '' };
  }
  const login = (
    username: string,
    password = PASSWORD,
  ): Promise<Reply<{ data: { refresh_token: string } }>> =>
    given().system.request('POST', '/login', { username, password });

  const newTask = (words: object = {}): Promise<string> =>
    idOf('/tasks', { title: next(), description: GOAL, ...words });
  async function newAssigned(agentUrl = LOCAL_AGENT): Promise<string> {
    const id = await newTask();
    await make('POST', `/tasks/${id}/assign`, { agent_url: agentUrl });
    return id;
  }
  async function newProposed(): Promise<string> {
    const id = await newAssigned();
    await make('POST', `/tasks/${id}/step/propose`);
    return id;
  }
  async function newExecuted(): Promise<string> {
    const id = await newAssigned();
    await make('POST', `/tasks/${id}/step/execute`, { command: 'echo 1 passed' });
    return id;
  }
  async function newArchived(): Promise<string> {
    const id = await newTask();
    await make('POST', `/tasks/${id}/archive`);
    return id;
  }

  /** @returns the address of an agent whose every answer but that of its probe is an error */
  async function newBrokenAgent(): Promise<string> {
    const url = `${given().workerUrl}/broken/${next()}`;
    await make('POST', '/register', { name: next(), url });
    return url;
  }
  /** A part of a task that the worker has. */
  async function newDelegated(): Promise<{ parentId: string; partId: string }> {
    const parentId = await newTask();
    const wish = { agent_url: given().workerUrl, subtask_description: GOAL };
    const part = await make<{ subtask_id: string }>('POST', `/tasks/${parentId}/delegate`, wish);
    return { parentId, partId: part.subtask_id };
  }

  const newTemplate = (): Promise<string> =>
    idOf('/templates', { name: next(), prompt_template: '{{task_title}}' });
  const newRole = (): Promise<string> => idOf('/teams/roles', { name: next() });
  const newType = (): Promise<string> => idOf('/teams/types', { name: next() });
  const newTeam = (): Promise<string> => idOf('/teams', { name: next() });
  /** A team type that has a role. @returns their ids */
  async function newLink(): Promise<[string, string]> {
    const [typeId, roleId] = [await newType(), await newRole()];
    await make('POST', `/teams/types/${typeId}/roles`, { role_id: roleId });
    return [typeId, roleId];
  }

  return {
    next,
    make,
    workerUrl: (): string => given().workerUrl,
    login,
    newUser,
    newSecret,
    newMfaUser,
    newTask,
    newAssigned,
    newProposed,
    newExecuted,
    newArchived,
    newBrokenAgent,
    newDelegated,
    newSchedule: (): Promise<string> => idOf('/schedule', daily),
    newTemplate,
    newRole,
    newType,
    newTeam,
    newLink,
  };
}

/** A worker of ananta at an address, written from the contract: it takes tasks; under `/broken/` it fails. */
export async function startUrlWorker(): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const isBroken = request.url?.startsWith('/broken/') === true && !request.url.endsWith('/health');
    request.resume();
    response.writeHead(isBroken ? 500 : 200, { 'content-type': 'application/json', connection: 'close' });
    response.end(JSON.stringify({ status: 'success', data: { id: 'x', status: 'created' } }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
