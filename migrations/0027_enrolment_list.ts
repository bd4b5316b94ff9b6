import type { Migration } from './migration.ts';

/** Every installer makes an enrolment token: their list is read page by page. */
export const enrolmentList: Migration = {
  name: '0027_enrolment_list',
  up: 'create index enrolment_tokens_list_idx on enrolment_tokens (created_at desc, id desc)',
  down: 'drop index enrolment_tokens_list_idx',
};
