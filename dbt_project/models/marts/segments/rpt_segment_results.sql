with

weeks as (

    select
        scores.split,
        members.segment_id,
        count(*) as client_weeks_count,
        count(*) filter (where labels.is_str_within_horizon) as positive_weeks_count,
        count(*) filter (where scores.is_alert) as alerts_count,
        count(*) filter (where scores.is_alert and labels.is_str_within_horizon) as true_alerts_count
    from {{ ref('fct_segment_memberships') }} as members
    inner join {{ ref('fct_client_scores') }} as scores
        on members.client_id = scores.client_id and members.as_of_date = scores.as_of_date
    inner join {{ ref('int_client_labels') }} as labels
        on members.client_id = labels.client_id and members.as_of_date = labels.as_of_date
    where labels.is_label_complete and not labels.has_prior_str
    group by scores.split, members.segment_id

),

final as (

    select
        risk.split,
        risk."group" as segment_id,
        risk.clients_count,
        risk.str_count,
        weeks.client_weeks_count,
        weeks.positive_weeks_count,
        weeks.alerts_count,
        weeks.true_alerts_count,
        risk.str_ratio,
        risk.str_low_ratio,
        risk.str_high_ratio,
        risk.high_ratio,
        risk.medium_ratio,
        risk.low_ratio,
        risk.minimal_ratio,
        weeks.true_alerts_count / nullif(weeks.alerts_count, 0) as alert_precision_ratio,
        weeks.true_alerts_count / nullif(weeks.positive_weeks_count, 0) as alert_recall_ratio
    from {{ source('segments', 'segment_risk') }} as risk
    inner join weeks on risk.split = weeks.split and risk."group" = weeks.segment_id
    where risk.grouping = 'segment'

)

select * from final
