-- +goose Up
-- What people do, and what they may.

-- The audit trail: every change that a person made, or was refused. Append-only.
create table audit (
  id            integer primary key,
  at            integer not null,
  actor         text    not null, -- who: admin_token, token NAME, command line
  what          text    not null, -- invite, approve, retry, revoke, correct, replay, token made, token revoked, test event, import
  invitation_id integer references invitations (id),
  subject       text    not null default '', -- what else it was about, such as "delivery 7"
  before        text    not null default '',
  after         text    not null default ''
);
create index audit_by_invitation on audit (invitation_id, id) where invitation_id is not null;

-- Tokens of the API and the pages, beside those of the configuration.
create table tokens (
  name       text    primary key,
  hash       text    not null unique, -- SHA-256 in hex: a token is too long to be guessed
  role       text    not null check (role in ('read', 'invite', 'admin')),
  created_at integer not null,
  created_by text    not null,
  expires_at integer,
  revoked_at integer
);

-- Who is signed in to the pages.
create table sessions (
  id         text    primary key, -- SHA-256 of what the cookie holds
  actor      text    not null,
  credential text    not null, -- SHA-256 of the token that signed in: with it the session ends
  created_at integer not null,
  expires_at integer not null,
  link       integer not null default 0 -- a link that signs in once, not a session yet
);

-- Answers to calls that carry an Idempotency-Key, for a day.
create table answers (
  key      text    primary key, -- SHA-256 of the actor and the key
  request  text    not null, -- SHA-256 of the call: the same key with another is refused
  at       integer not null,
  status   integer not null default 0, -- 0: under way
  location text    not null default '',
  body     text    not null default ''
);
create index answers_by_time on answers (at);

-- Lists of people that were sent in one go. The events of one have ids that begin with its own.
create table imports (
  id         text    primary key,
  at         integer not null,
  actor      text    not null,
  total      integer not null,
  recorded   integer not null default 0, -- how many of its people are
  started_at integer -- null: a draft, which nobody has sent
);

-- Whom a list asks for, JSON, until all of them are recorded.
create table import_lists (
  import_id text primary key references imports (id),
  list      text not null
);

-- What became of each of them.
create table import_rows (
  import_id     text    not null references imports (id),
  place         integer not null, -- in the list, counted from 0
  line          integer not null, -- of the text that it was read from
  event_id      integer not null, -- without a reference: retention may remove a skipped one
  invitation_id integer references invitations (id), -- null: nobody is invited
  primary key (import_id, place)
) without rowid;

-- What is known of the secrets of a source without knowing them: when they last changed.
create table source_secrets (
  source      text    primary key,
  fingerprint text    not null, -- 16 bits of a slow hash: tells a change, gives nothing away
  since       integer not null, -- when they were first seen
  changed_at  integer -- null: not since then
);

alter table invitations add column corrected_to integer references invitations (id); -- the address was wrong: the one that took its place
alter table invitations add column resend integer not null default 0; -- what Retool has of it is still to be taken away, before anything else
alter table invitations add column resent integer not null default 0; -- how often Usher itself had it sent again, since its link had died
alter table invitations add column accepted_at integer;
create index invitations_expiring on invitations (expires_at) where state = 'sent';

-- People search by the beginning of an address, for which its own index is enough, or of a domain.
create index invitations_by_domain on invitations (substr(email, instr(email, '@') + 1), id);

-- For whoever reads the ledger with SQL: these columns stay when the tables change.
create view usher_invitations as
select i.id, i.email, i.state, i.reason, i.source, i.groups, i.attributes, i.note, i.tries,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.next_try_at / 1000.0, 'unixepoch') as next_try_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.sent_at / 1000.0, 'unixepoch') as sent_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.accepted_at / 1000.0, 'unixepoch') as accepted_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.expires_at / 1000.0, 'unixepoch') as expires_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.created_at / 1000.0, 'unixepoch') as created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.updated_at / 1000.0, 'unixepoch') as updated_at,
  i.retool_id as retool_invite_id, i.corrected_to
from invitations i;

create view usher_events as
select e.id, e.delivery_id, e.source, e.event_id as sender_id, e.type,
  strftime('%Y-%m-%dT%H:%M:%fZ', e.occurred_at / 1000.0, 'unixepoch') as occurred_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', e.recorded_at / 1000.0, 'unixepoch') as recorded_at,
  d.email, d.outcome, d.reason, d.sentence, d.rule,
  strftime('%Y-%m-%dT%H:%M:%fZ', d.decided_at / 1000.0, 'unixepoch') as decided_at,
  d.invitation_id, e.details
from events e left join decisions d on d.id = (select max(id) from decisions where event_id = e.id);

-- +goose Down
drop view usher_events;
drop view usher_invitations;
drop index invitations_by_domain;
drop index invitations_expiring;
alter table invitations drop column accepted_at;
alter table invitations drop column resent;
alter table invitations drop column resend;
alter table invitations drop column corrected_to;
drop table source_secrets;
drop table import_rows;
drop table import_lists;
drop table imports;
drop table answers;
drop table sessions;
drop table tokens;
drop table audit;
