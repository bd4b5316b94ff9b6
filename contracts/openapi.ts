import { z } from 'zod';
import { type ErrorCode, errorTable } from './errors.ts';
import { errorSchemas } from './families/error-schemas.ts';
import { errorTextOf } from './families/error-texts.ts';
import {
  answersEvents,
  type BodyType,
  bodyMediaTypes,
  errorsOf,
  type ReplySpec,
  type RouteContract,
  replySpec,
} from './route.ts';

export interface OpenApiInfo {
  title: string;
  version: string;
  /** URL under which clients reach the server. */
  /** `/` stands for wherever the document was read from. */
  publicUrl: string;
  description?: string;
}

type JsonObject = Record<string, unknown>;

/** An OpenAPI 3.1 document, as far as we need to look into it. */
export interface OpenApiDocument extends JsonObject {
  openapi: '3.1.0';
  paths: Record<string, Record<string, JsonObject>>;
}

/** The document of these routes. Schemas with an id (`.meta({ id })`) become components. */
export function openApiDocument(contracts: readonly RouteContract[], info: OpenApiInfo): OpenApiDocument {
  const schemas: JsonObject = {};
  const paths: OpenApiDocument['paths'] = {};
  for (const [path, byMethod] of groupByPath(contracts)) {
    paths[path] = Object.fromEntries(
      [...byMethod].map(([method, variants]) => [method, operation(variants, schemas)]),
    );
  }
  return {
    openapi: '3.1.0',
    info: {
      title: info.title,
      version: info.version,
      description: info.description ?? 'Durable, human-approved command execution on fleets of machines.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: info.publicUrl }],
    tags: [...new Set(contracts.flatMap((contract) => contract.tags))].sort().map((name) => ({ name })),
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes,
    },
  };
}

function groupByPath(contracts: readonly RouteContract[]): Map<string, Map<string, RouteContract[]>> {
  const paths = new Map<string, Map<string, RouteContract[]>>();
  for (const contract of contracts) {
    const methods = paths.get(contract.path) ?? new Map<string, RouteContract[]>();
    const method = contract.method.toLowerCase();
    methods.set(method, [...(methods.get(method) ?? []), contract]);
    paths.set(contract.path, methods);
  }
  return paths;
}

/** One operation; several contracts are the variants of one path by listener profile. */
function operation(variants: readonly RouteContract[], schemas: JsonObject): JsonObject {
  const [contract] = variants;
  if (contract === undefined) throw new Error('an operation needs a contract');
  const notes = variants.flatMap(({ profile, summary }) =>
    profile ? [`On a ${profile} listener: ${summary}.`] : [],
  );
  return {
    operationId: operationId(contract),
    summary: contract.summary,
    ...((contract.description ?? notes.length > 0) && {
      description: contract.description ?? notes.join(' '),
    }),
    tags: contract.tags,
    security: securityOf(contract),
    parameters: [
      ...parameters('path', contract.params, schemas),
      ...parameters('query', contract.query, schemas),
      ...parameters('header', contract.headers, schemas),
      ...(contract.takesIdempotencyKey ? [idempotencyKey] : []),
    ],
    ...(contract.body && { requestBody: requestBody(contract.body, contract.bodyTypes, schemas) }),
    responses: { ...errorResponses(contract, schemas), ...successResponses(variants, schemas) },
  };
}

/** Where `api/authenticate.ts` looks for a credential. */
const securitySchemes = {
  bearer: {
    type: 'http',
    scheme: 'bearer',
    description: 'An access token, an API token (`stp_…`), the token of an agent, or the shared agent token',
  },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The same as `bearer`' },
  ticket: {
    type: 'apiKey',
    in: 'query',
    name: 'ticket',
    description: 'Of `POST /v1/auth/tickets`: opens one event stream or socket within 60 seconds',
  },
  queryToken: {
    type: 'apiKey',
    in: 'query',
    name: 'token',
    description:
      'The same as `bearer`, for clients that cannot send headers. Prefer a ticket: addresses are logged',
  },
} as const;

/** Any one of these. */
function securityOf(contract: RouteContract): JsonObject[] {
  if (contract.auth === 'public') return [];
  const isStream = answersEvents(contract);
  return [
    { bearer: [] },
    { apiKey: [] },
    ...(isStream ? [{ ticket: [] }] : []),
    ...(isStream || contract.family === 'ananta' ? [{ queryToken: [] }] : []),
  ];
}

const idempotencyKey = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'A second request with the same key is answered as the first was',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
};

/** `GET /v1/tasks/{taskId}` → `getV1TasksByTaskId`. */
function operationId({ method, path }: RouteContract): string {
  const words = path.replaceAll(/\{(\w+)\}/g, 'by-$1').split(/[^A-Za-z0-9]+/);
  const name = words.filter(Boolean).map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return method.toLowerCase() + (name.join('') || 'Root');
}

function parameters(where: string, schema: z.ZodObject | undefined, schemas: JsonObject): JsonObject[] {
  return Object.entries(schema?.shape ?? {}).map(([name, type]) => {
    const { description, ...rest } = jsonSchema(type, schemas);
    return {
      name,
      in: where,
      required: where === 'path' || !z.safeParse(type, undefined).success,
      ...(typeof description === 'string' && { description }),
      schema: rest,
    };
  });
}

function requestBody(
  body: z.ZodType,
  bodyTypes: readonly BodyType[] = ['json'],
  schemas: JsonObject,
): JsonObject {
  const schema = jsonSchema(body, schemas);
  return {
    required: !body.safeParse(undefined).success,
    content: Object.fromEntries(bodyTypes.map((type) => [bodyMediaTypes[type], { schema }])),
  };
}

function successResponses(variants: readonly RouteContract[], schemas: JsonObject): JsonObject {
  const statuses = new Set(variants.flatMap((contract) => Object.keys(contract.replies).map(Number)));
  return Object.fromEntries(
    [...statuses].map((status) => {
      const specs = variants.flatMap((contract) => replySpec(contract, status) ?? []);
      return [String(status), successResponse(specs, schemas)];
    }),
  );
}

function successResponse(specs: readonly ReplySpec[], schemas: JsonObject): JsonObject {
  const [spec] = specs;
  const bodies = specs.map((each) => bodySchema(each, schemas));
  return {
    description: spec?.description ?? 'Done',
    ...(spec?.headers && { headers: documentHeaders(spec.headers) }),
    ...(spec &&
      spec.kind !== 'empty' && {
        content: {
          [spec.contentType]: { schema: bodies.length > 1 ? { anyOf: bodies } : bodies[0] },
          ...(spec.eventData && {
            'text/event-stream': { schema: eventStreamSchema({ schema: spec.eventData }, schemas) },
          }),
        },
      }),
  };
}

function bodySchema(spec: ReplySpec, schemas: JsonObject): JsonObject {
  if (spec.kind === 'events') return eventStreamSchema(spec, schemas);
  if (spec.schema !== undefined) return jsonSchema(spec.schema, schemas);
  return spec.kind === 'bytes' ? { type: 'string', format: 'binary' } : { type: 'string' };
}

/** OpenAPI has no word for a stream of events: the data of one event is described beside. */
function eventStreamSchema(spec: Pick<ReplySpec, 'schema'>, schemas: JsonObject): JsonObject {
  const data = spec.schema && jsonSchema(spec.schema, schemas);
  return { type: 'string', description: 'Server-sent events', ...(data && { 'x-event-data': data }) };
}

function documentHeaders(headers: Readonly<Record<string, string>>): JsonObject {
  const entries = Object.entries(headers);
  return Object.fromEntries(
    entries.map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  );
}

/** Errors grouped by the status this route answers them with; the codes stand in the description. */
function errorResponses(contract: RouteContract, schemas: JsonObject): JsonObject {
  const codesByStatus = new Map<number, ErrorCode[]>();
  for (const code of errorsOf(contract)) {
    const status = errorTextOf(code, contract.family, contract).status ?? errorTable[code].status;
    codesByStatus.set(status, [...(codesByStatus.get(status) ?? []), code]);
  }
  const schema = jsonSchema(errorSchemas[contract.family], schemas);
  const contentType = contract.family === 'house' ? 'application/problem+json' : 'application/json';
  return Object.fromEntries(
    [...codesByStatus].map(([status, codes]) => [
      String(status),
      { description: codes.map((code) => `\`${code}\``).join(', '), content: { [contentType]: { schema } } },
    ]),
  );
}

/** A schema as JSON Schema 2020-12 (what OpenAPI 3.1 speaks); those with an id move to the components. */
function jsonSchema(schema: z.core.$ZodType, schemas: JsonObject): JsonObject {
  // What is sent, both ways: a request before its defaults and transforms, a reply as it leaves.
  const { $schema, $defs, ...converted } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const moved: JsonObject = rewriteReferences(converted);
  for (const [id, definition] of Object.entries($defs ?? {})) {
    const { id: _id, ...rest } = rewriteReferences(definition);
    schemas[id] = rest;
  }
  if (typeof moved.id !== 'string') return moved;
  const { id, ...rest } = moved;
  schemas[String(id)] = rest;
  return { $ref: `#/components/schemas/${id}` };
}

function rewriteReferences(schema: object): JsonObject {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')) as JsonObject;
}
