with

weeks as (

    select as_of_date from {{ source('intermediate', 'requested_weeks') }}

),

alerts as (

    select *
    from {{ source('scores', 'client_scores') }}
    where is_alert and as_of_date in (select as_of_date from weeks)

),

reasons as (

    select
        client_id,
        as_of_date,
        max(case when reason_rank = 1 then reason_text end) as main_reason,
        max(case when reason_rank = 2 then reason_text end) as second_reason,
        max(case when reason_rank = 3 then reason_text end) as third_reason,
        max(case when reason_rank = 1 then pillar end) as main_pillar,
        count(*) as reasons_count
    from {{ source('scores', 'alert_reasons') }}
    where as_of_date in (select as_of_date from weeks)
    group by all

),

final as (

    select
        concat(alerts.client_id, '|', cast(alerts.as_of_date as varchar)) as alert_id,
        alerts.client_id,
        alerts.model_id,
        alerts.band,
        reasons.main_pillar,
        reasons.main_reason,
        reasons.second_reason,
        reasons.third_reason,
        cast(alerts.bcrs_score as double) as bcrs_score,
        cast(alerts.rank_in_week_count as bigint) as rank_in_week_count,
        cast(coalesce(reasons.reasons_count, 0) as bigint) as reasons_count,
        cast(alerts.as_of_date as date) as as_of_date
    from alerts
    left join reasons using (client_id, as_of_date)

)

select * from final
