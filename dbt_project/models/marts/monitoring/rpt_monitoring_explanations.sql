with

final as (

    select
        pillar,
        status,
        cast(share_ratio as double) as share_ratio,
        cast(previous_share_ratio as double) as previous_share_ratio,
        cast(distance_value as double) as distance_value,
        cast(alerts_count as bigint) as alerts_count,
        cast(previous_alerts_count as bigint) as previous_alerts_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('monitoring', 'explanation_drift') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
