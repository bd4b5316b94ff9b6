import { type Command, InvalidArgumentError, Option } from 'commander';
import { type ApiClient, ApiError, createApiClient } from '../../client/api-client.ts';
import { type Config, loadConfig } from '../../config.ts';
import { createEnrolmentRoute } from '../../contracts/agent-routes.ts';
import { loginRoute } from '../../contracts/auth.ts';
import { apiAddressOf } from '../api-address.ts';
import { askSecret } from '../ask-secret.ts';
import { CommandError, exitCodes } from '../exit-codes.ts';

interface Options {
  url?: string;
  username?: string;
  label?: string;
  tag: string[];
  uses: number;
  hours: number;
}

const MS_PER_HOUR = 3_600_000;

export function addEnrolTokenCommand(program: Command): void {
  program
    .command('enrol-token')
    .description('Make a token that lets agents enrol at a running API')
    .option('--url <url>', 'base URL of the API (default: PUBLIC_URL, else the first address of LISTEN)')
    .option('--username <name>', 'who logs in (default: ADMIN_USERNAME)')
    .option('--label <text>', 'note to recognise the token by')
    .addOption(
      new Option('--tag <tag>', 'tag of the agents that enrol with it; may be repeated')
        .argParser(collect)
        .default([], 'none'),
    )
    .option('--uses <count>', 'how many agents may use it', parseCount, 1)
    .option('--hours <count>', 'how many hours it is good', parseCount, 1)
    .addHelpText(
      'after',
      `
Logs in with ADMIN_PASSWORD, or asks for the password. With AGENT_TOKEN set, that is used instead.
Prints the token alone on standard output.`,
    )
    .action(makeToken);
}

async function makeToken(options: Options): Promise<void> {
  const config = loadConfig('cli');
  const url = options.url ?? apiAddressOf(config);
  try {
    const api = await connect(url, options.username ?? config.adminUsername, config);
    const enrolment = await api.call(createEnrolmentRoute, {
      body: {
        label: options.label,
        tags: options.tag,
        maxUses: options.uses,
        ttlMs: options.hours * MS_PER_HOUR,
      },
    });
    const uses = enrolment.maxUses === 1 ? 'one agent' : `${enrolment.maxUses} agents`;
    process.stderr.write(`Good for ${uses} until ${enrolment.expiresAt}. On the machine, run:\n`);
    process.stderr.write(`  STEELTHREAD_URL=${url} STEELTHREAD_ENROL_TOKEN=<token> steelthread agent\n`);
    process.stdout.write(`${enrolment.enrolmentToken}\n`);
  } catch (error) {
    if (error instanceof ApiError) throw new CommandError(error.message, { cause: error });
    if (error instanceof TypeError) throw new CommandError(`${url} cannot be reached`, { cause: error });
    throw error;
  }
}

async function connect(url: string, username: string, config: Config): Promise<ApiClient> {
  if (config.agentToken !== null) return createApiClient({ url, token: config.agentToken });
  const password = config.adminPassword ?? (await askSecret(`Password of ${username}: `));
  if (password === null) {
    const message = 'There is no terminal to ask for a password: set ADMIN_PASSWORD or AGENT_TOKEN.';
    throw new CommandError(message, { exitCode: exitCodes.usage });
  }
  const { accessToken } = await createApiClient({ url }).call(loginRoute, { body: { username, password } });
  return createApiClient({ url, token: accessToken });
}

function collect(value: string, earlier: string[]): string[] {
  return [...earlier, value];
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1.');
  return Number(text);
}
