-- +goose Up
-- What a sender's identity does not prove by itself.
alter table events add column fingerprint text not null default ''; -- what it says, hashed: tells a resend from an identity used twice; '' of older versions matches anything
alter table events add column body_key text; -- the second identity, where the sender's own is not inside what was signed
alter table events add column reuses_id_of bigint references events (id); -- the sender gave it the identity of that other event
create unique index events_by_body_key on events (source, body_key) where body_key is not null;
create index events_by_reuse on events (reuses_id_of, id) where reuses_id_of is not null;
create index events_by_reuse_saying on events (reuses_id_of, fingerprint) where reuses_id_of is not null;

-- What is kept of a request is more than headers: an object of parts.
alter table deliveries rename column headers to request;
update deliveries set request = json_build_object('headers', request::json)::text;

-- Lists of events page through their own order: no sorting, however many share a reason.
drop index decisions_by_reason;
create index decisions_by_reason on decisions (reason, event_id);
create index decisions_by_outcome on decisions (outcome, event_id);
create index decisions_by_email on decisions (email, event_id) where email <> '';

-- +goose Down
drop index decisions_by_email;
drop index decisions_by_outcome;
drop index decisions_by_reason;
create index decisions_by_reason on decisions (reason, id);

update deliveries set request = coalesce(request::json ->> 'headers', '{}');
alter table deliveries rename column request to headers;

drop index events_by_reuse_saying;
drop index events_by_reuse;
drop index events_by_body_key;
alter table events drop column reuses_id_of;
alter table events drop column body_key;
alter table events drop column fingerprint;
