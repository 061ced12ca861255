/* The functions of actions, by what they are done to: act.c, and act_runs.c for runs. */
#ifndef COORD_HTTP_ACT_H
#define COORD_HTTP_ACT_H

#include "coord/http/action.h"

int web_act_pause_trigger(struct web_act *act, struct rota_error *error);
int web_act_resume_trigger(struct web_act *act, struct rota_error *error);
int web_act_pause_job(struct web_act *act, struct rota_error *error);
int web_act_resume_job(struct web_act *act, struct rota_error *error);
int web_act_pause_source(struct web_act *act, struct rota_error *error);
int web_act_resume_source(struct web_act *act, struct rota_error *error);
int web_act_pause_all(struct web_act *act, struct rota_error *error);
int web_act_resume_all(struct web_act *act, struct rota_error *error);
int web_act_reset(struct web_act *act, struct rota_error *error); /* no name: all */
int web_act_reschedule(struct web_act *act, struct rota_error *error);
int web_act_delete_job(struct web_act *act, struct rota_error *error);
int web_act_delete_trigger(struct web_act *act, struct rota_error *error);
int web_act_drain(struct web_act *act, struct rota_error *error);
int web_act_standby(struct web_act *act, struct rota_error *error);
int web_act_resume_node(struct web_act *act, struct rota_error *error);
int web_act_evict(struct web_act *act, struct rota_error *error);

int web_act_fire_job(struct web_act *act, struct rota_error *error);
int web_act_fire_trigger(struct web_act *act, struct rota_error *error);
int web_act_enqueue(struct web_act *act, struct rota_error *error);
int web_act_cancel(struct web_act *act, struct rota_error *error);
int web_act_retry(struct web_act *act, struct rota_error *error);
int web_act_discard(struct web_act *act, struct rota_error *error);
int web_act_cancel_job(struct web_act *act, struct rota_error *error);
int web_act_retry_job(struct web_act *act, struct rota_error *error);

#endif
