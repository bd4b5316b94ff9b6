/** What the stack needs of a logger; the loggers of `log.ts` fit. */
export interface StackLog {
  info(fields: { event: string; [name: string]: unknown }, message?: string): void;
  warn(fields: { event: string; [name: string]: unknown }, message?: string): void;
}

/** Variables of this machine that programs we start may need: where things are, how to reach the network. */
export const MACHINE_VARIABLES = [
  'PATH',
  'HOME',
  'USER',
  'LANG',
  'TZ',
  'TMPDIR',
  'SystemRoot',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
  'GOPROXY',
  'GOFLAGS',
  'GOTOOLCHAIN',
  'GOSUMDB',
  'GONOSUMDB',
  'GOPRIVATE',
  'GOROOT',
] as const;
