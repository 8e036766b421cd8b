-- +goose Up
-- Times are whole milliseconds since 1970 in UTC; JSON is text; identities are the ledger's own numbers.

-- A delivery is one verified request as it came. Append-only; only retention may empty its body.
create table deliveries (
  id          integer primary key,
  source      text    not null,
  received_at integer not null,
  verified_by text    not null, -- which secret matched, by its place in the configuration
  headers     text    not null, -- the few request headers worth keeping, as a JSON object
  body        blob              -- the bytes that were signed
);

-- What waits for the decide stage: small, so that what is done costs nothing. Replaying a delivery is putting it back here.
create table undecided (
  delivery_id  integer primary key references deliveries (id),
  tries        integer not null default 0,
  set_aside_at integer, -- a poison delivery, alone, after its tries
  error        text    not null default ''
);

-- An event is one thing a sender told us, once, however often it was sent.
create table events (
  id          integer primary key,
  delivery_id integer references deliveries (id), -- null: asked for by hand
  source      text    not null,
  event_id    text    not null,
  type        text    not null,
  occurred_at integer, -- by the sender's clock, null when it did not say
  recorded_at integer not null,
  details     text    not null, -- the normalised event, JSON
  unique (source, event_id)
);

-- The same event sent again: which delivery brought it, and whether its bytes were the same.
create table resends (
  event_id    integer not null references events (id),
  delivery_id integer not null references deliveries (id),
  received_at integer not null,
  same_body   integer not null,
  primary key (event_id, delivery_id)
) without rowid;

-- An invitation is our promise about one address.
create table invitations (
  id              integer primary key,
  email           text    not null unique,
  state           text    not null check (state in ('held', 'queued', 'sent', 'accepted', 'expired', 'revoked', 'failed')),
  reason          text    not null default '', -- why it is in this state, for people
  groups          text    not null default '[]', -- wanted
  attributes      text    not null default '{}', -- wanted
  sent_groups     text    not null default '[]', -- what Retool was told
  sent_attributes text    not null default '{}',
  note            text    not null default '',
  source          text    not null, -- of the first event that asked for it
  tries           integer not null default 0, -- counted attempts of this run; a 429 is not counted
  run             integer not null default 0, -- raised each time it is queued: a job of an older run does nothing
  next_try_at     integer,
  sending_since   integer, -- a call to Retool is under way
  unsure          integer not null default 0, -- a call may have been carried out: look before sending again
  retool_id       integer,
  expires_at      integer,
  created_at      integer not null,
  updated_at      integer not null,
  sent_at         integer
);
create index invitations_by_state on invitations (state, id);

-- A decision is what we made of one event. The newest of an event is the one that holds.
create table decisions (
  id            integer primary key,
  event_id      integer not null references events (id),
  decided_at    integer not null,
  outcome       text    not null check (outcome in ('invite', 'hold', 'skip')),
  reason        text    not null,
  sentence      text    not null,
  rule          integer, -- the access rule that matched, counted from 0
  email         text    not null default '',
  invitation_id integer references invitations (id)
);
create index decisions_by_event on decisions (event_id, id);
create index decisions_by_invitation on decisions (invitation_id, id) where invitation_id is not null;
create index decisions_by_reason on decisions (reason, id);

-- An attempt is one call to the outside and what it answered: the audit trail.
create table attempts (
  id            integer primary key,
  invitation_id integer references invitations (id),
  event_id      integer references events (id), -- of a look-up, which has no invitation yet
  kind          text    not null, -- invite, look, attributes, customer
  started_at    integer not null,
  duration_ms   integer not null,
  transport     text    not null default '',
  status        integer not null default 0, -- HTTP, 0 when no answer came
  outcome       text    not null,
  message       text    not null default '',
  retool_id     integer
);
create index attempts_by_invitation on attempts (invitation_id, id);
create index attempts_by_event on attempts (event_id, id) where event_id is not null;

-- The shared pace: the one row that hands out the organisation's send slots to every instance.
create table pace (
  id             integer primary key check (id = 1),
  next_at        integer not null default 0, -- no slot before this: the budget
  not_before     integer not null default 0, -- no slot before this: Retool asked us to wait, or sending is stopped
  stopped_reason text    not null default '', -- not empty: only a probe is sent each time not_before passes
  stopped_at     integer,
  worked_at      integer, -- when Retool last took a call
  proofs         integer not null default 0  -- raised to prove that a commit reaches the disk
);
insert into pace (id) values (1);

-- +goose Down
drop table pace;
drop table attempts;
drop table decisions;
drop table invitations;
drop table resends;
drop table events;
drop table undecided;
drop table deliveries;
