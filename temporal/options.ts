/** Where Temporal is and how to speak to it, as both connections (client and worker) need it. */
import { readFileSync } from 'node:fs';

export interface TemporalOptions {
  /** `host:port` */
  address: string;
  namespace: string;
  /** Absent: plaintext. An empty object: TLS with the system's authorities. */
  tls?: TemporalTls;
  apiKey?: string;
}

export interface TemporalTls {
  serverNameOverride?: string;
  serverRootCACertificate?: Uint8Array;
  clientCertPair?: { crt: Uint8Array; key: Uint8Array };
}

/** The part of the configuration that speaks of Temporal. */
export interface TemporalSettings {
  readonly temporalAddress: string;
  readonly temporalNamespace: string;
  readonly temporalTls: boolean;
  readonly temporalTlsCert: string | null;
  readonly temporalTlsKey: string | null;
  readonly temporalTlsCa: string | null;
  readonly temporalTlsServerName: string | null;
  readonly temporalApiKey: string | null;
}

/** Options from the configuration; reads the certificate files. @throws when a file cannot be read */
export function readTemporalOptions(settings: TemporalSettings): TemporalOptions {
  return {
    address: settings.temporalAddress,
    namespace: settings.temporalNamespace,
    ...(settings.temporalTls ? { tls: readTls(settings) } : {}),
    ...(settings.temporalApiKey === null ? {} : { apiKey: settings.temporalApiKey }),
  };
}

function readTls(settings: TemporalSettings): TemporalTls {
  const { temporalTlsCert: cert, temporalTlsKey: key, temporalTlsCa: ca } = settings;
  return {
    ...(settings.temporalTlsServerName === null
      ? {}
      : { serverNameOverride: settings.temporalTlsServerName }),
    ...(ca === null ? {} : { serverRootCACertificate: readFileSync(ca) }),
    ...(cert === null || key === null
      ? {}
      : { clientCertPair: { crt: readFileSync(cert), key: readFileSync(key) } }),
  };
}
