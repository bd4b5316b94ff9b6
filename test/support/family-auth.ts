/** The accounts and sessions of every family on real Postgres and real HTTP, asked as each family's clients would. */
import { Secret, TOTP } from 'otpauth';
import { createAuthenticate } from '../../api/authenticate.ts';
import { createRoutes, type RouteDeps } from '../../api/routes/index.ts';
import type { Role } from '../../contracts/principal.ts';
import type { UserRole } from '../../db/users.ts';
import type { IdentitySettings } from '../../domain/identity/deps.ts';
import { createUser } from '../../domain/identity/users.ts';
import type { Chat } from '../../domain/metered-chat.ts';
import { can } from '../../domain/policy.ts';
import { startTestServer, type TestServer, type TestServerOptions } from './http.ts';
import { actorOf, adminPassword, type IdentityStack, startIdentity } from './identity.ts';

export const userPassword = 'Plain-Sailing-42';

export interface Ask {
  token?: string | undefined;
  json?: unknown;
  form?: Record<string, string>;
  headers?: Record<string, string>;
  /** Address that the request comes from, as a trusted proxy tells it; a new one unless given. */
  from?: string;
}

export interface FamilyAnswer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: five dialects' bodies, each looked at by its own test.
  body: any;
}

export interface FamilyAuth {
  stack: IdentityStack;
  server: TestServer;
  ask(method: string, path: string, ask?: Ask): Promise<FamilyAnswer>;
  /** A new account with userPassword; its name. */
  addUser(role?: UserRole, email?: string): Promise<string>;
  /** An access token of the house for this account. */
  tokenOf(username: string, password?: string): Promise<string>;
  adminToken(): Promise<string>;
  close(): Promise<void>;
}

export async function startFamilyAuth(
  options: {
    settings?: Partial<IdentitySettings>;
    server?: TestServerOptions;
    /** The model in conversations. */
    chat?: (stack: IdentityStack) => Pick<Chat, 'stream'>;
  } = {},
): Promise<FamilyAuth> {
  const stack = await startIdentity({ ...(options.settings && { settings: options.settings }) });
  const deps = stack.deps;
  const server = await startTestServer({
    // Of the hub only event streams make use, and none is opened here.
    routes: createRoutes({ ...deps, chat: options.chat?.(stack) } as unknown as RouteDeps),
    authenticate: createAuthenticate(deps),
    can,
    ...options.server,
    options: { trustProxyHops: 1, ...options.server?.options },
  });
  let addresses = 0;
  let users = 0;
  const newAddress = (): string => {
    addresses += 1;
    return `198.51.${Math.floor(addresses / 250)}.${(addresses % 250) + 1}`;
  };

  const ask: FamilyAuth['ask'] = async (method, path, { token, json, form, headers, from } = {}) => {
    const body =
      form === undefined
        ? typeof json === 'string' || json === undefined
          ? json
          : JSON.stringify(json)
        : new URLSearchParams(form).toString();
    const type = form === undefined ? 'application/json' : 'application/x-www-form-urlencoded';
    const response = await server.fetch(path, {
      method,
      ...(body !== undefined && { body }),
      headers: {
        'X-Forwarded-For': from ?? newAddress(),
        'X-Request-Id': 'cid-1',
        ...(body !== undefined && { 'Content-Type': type }),
        ...(token !== undefined && { Authorization: `Bearer ${token}` }),
        ...headers,
      },
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? undefined : JSON.parse(text),
    };
  };

  const tokenOf: FamilyAuth['tokenOf'] = async (username, password = userPassword) => {
    const { status, body } = await ask('POST', '/v1/auth/login', { json: { username, password } });
    if (status !== 200) throw new Error(`no login: ${JSON.stringify(body)}`);
    return body.accessToken;
  };

  return {
    stack,
    server,
    ask,
    async addUser(role = 'user', email) {
      users += 1;
      const { username } = await createUser(deps, actorOf('admin'), {
        username: `person-${users}`,
        email: email ?? null,
        password: userPassword,
        role,
      });
      return username;
    },
    tokenOf,
    adminToken: () => tokenOf('admin', adminPassword),
    async close() {
      await server.close();
      await stack.close();
    },
  };
}

/** Claims of an access token, unverified. */
export function claimsOf(token: string): Record<string, unknown> & { iat: number; exp: number; role: Role } {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
}

/** Token of the authenticator that holds this secret, `stepsAhead` steps from now. */
export function totpOf(secret: string, stepsAhead = 0): string {
  const totp = new TOTP({ secret: Secret.fromBase32(secret) });
  return totp.generate({ timestamp: Date.now() + stepsAhead * 30_000 });
}
