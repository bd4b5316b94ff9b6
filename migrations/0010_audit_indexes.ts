import type { Migration } from './migration.ts';

/** What was refused or failed is a small part of the audit trail, and asked for most. */
export const createAuditIndexes: Migration = {
  name: '0010_audit_indexes',
  up: `
    create index audit_events_refused_idx on audit_events (at desc, id desc) where outcome <> 'success';
  `,
  down: `
    drop index audit_events_refused_idx;
  `,
};
