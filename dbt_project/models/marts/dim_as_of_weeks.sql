with

scored as (

    select
        as_of_date,
        max(split) as split,
        count(*) as clients_count,
        count(case when is_alert then 1 end) as alerts_count
    from {{ ref('fct_client_scores') }}
    group by as_of_date

),

final as (

    select
        scored.split,
        cast(weeks.week_index as integer) as week_index,
        cast(coalesce(scored.clients_count, 0) as bigint) as clients_count,
        cast(coalesce(scored.alerts_count, 0) as bigint) as alerts_count,
        cast(weeks.is_label_complete as boolean) as is_label_complete,
        scored.as_of_date is not null as is_scored,
        cast(weeks.as_of_date as date) as as_of_date
    from {{ source('intermediate', 'as_of_weeks') }} as weeks
    left join scored on weeks.as_of_date = scored.as_of_date

)

select * from final
