import type { ErrorCode } from '../errors.ts';
import type { ErrorText, RouteContract } from '../route.ts';
import type { Family } from './family.ts';

/** Codes to which a family gives its own status, text or spelling; all others read as the error table has them. */
type ErrorTexts = Partial<Record<ErrorCode, ErrorText>>;

const ananta: ErrorTexts = {
  invalid_token: { code: 'unauthorized' },
  task_not_found: { code: 'not_found' },
  agent_not_found: { code: 'not_found' },
  command_not_found: { code: 'not_found' },
  user_not_found: { code: 'not_found' },
  no_proposal: { status: 400 },
  enrolment_token_invalid: { message: 'Invalid or missing registration token' },
  agent_url_unreachable: { message: 'Agent URL {url} is unreachable' },
  missing_dependencies: { message: 'missing_dependencies:{taskIds}' },
  account_locked: { message: 'Account is locked. Please try again in {seconds} seconds.' },
  invalid_credentials: { message: 'Invalid credentials' },
  invalid_request: { message: '{reason}' },
  password_refused: { status: 400, message: '{reason}' },
};

const steel: ErrorTexts = {
  unauthorized: { message: 'Not authenticated' },
  invalid_token: { message: 'Could not validate credentials' },
  invalid_credentials: { message: 'Incorrect username or password' },
  // The body has no room for a code, and clients have to tell it from a wrong password.
  mfa_required: { message: 'MFA_REQUIRED' },
  forbidden: { message: 'Not enough permissions' },
  internal_error: { message: 'Internal Server Error' },
  validation_failed: { message: 'Validation error' },
};

const dex: ErrorTexts = {
  validation_failed: { message: 'Validation error', code: 'VALIDATION_ERROR' },
  unauthorized: { message: 'Authorization header required' },
  invalid_token: { message: 'Could not validate credentials', code: 'INVALID_TOKEN' },
  invalid_credentials: { message: 'Incorrect username or password' },
  agent_not_found: { message: 'Agent not found' },
  agent_not_connected: { status: 400, message: 'Agent is not connected' },
  command_not_found: { message: 'Command not found' },
  setting_not_found: { message: 'Setting not found' },
  saved_command_not_found: { message: 'Command not found', code: 'COMMAND_NOT_FOUND' },
  rate_limited: { code: 'RATE_LIMIT_EXCEEDED' },
  model_unavailable: { code: 'AI_SERVICE_UNAVAILABLE', message: 'AI service is not available' },
  model_not_configured: {
    code: 'AI_SERVICE_UNAVAILABLE',
    message: 'AI service is not configured: ANTHROPIC_API_KEY is not set',
  },
};

const alice: ErrorTexts = {
  validation_failed: { code: 'VALIDATION_ERROR' },
  unauthorized: { message: 'Not authenticated' },
  invalid_token: { code: 'UNAUTHORIZED', message: 'Could not validate credentials' },
  invalid_credentials: { message: 'Invalid email or password' },
  rate_limited: { code: 'RATE_LIMIT_EXCEEDED' },
  address_banned: { code: 'RATE_LIMIT_EXCEEDED' },
  model_unavailable: { code: 'AI_SERVICE_UNAVAILABLE', message: 'AI service is not available' },
  answer_broken_off: { code: 'STREAM_ERROR' },
  conversation_not_found: { message: 'Conversation not found' },
  invalid_cursor: { code: 'VALIDATION_ERROR' },
};

/** Where the words of the two differ, those of alice; the login names a user name as well. */
const dexAlice: ErrorTexts = { ...alice, invalid_credentials: { message: 'Incorrect username or password' } };

const errorTexts: Record<Family, ErrorTexts> = {
  house: {},
  ananta,
  steel,
  dex,
  alice,
  'dex-alice': dexAlice,
};

/** How a family words a code on a route: the route's own words win over its family's. */
export function errorTextOf(
  code: ErrorCode,
  family: Family,
  route: Pick<RouteContract, 'errorTexts'> | null,
): ErrorText {
  return { ...errorTexts[family][code], ...route?.errorTexts?.[code] };
}
