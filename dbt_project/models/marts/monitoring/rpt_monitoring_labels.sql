with

final as (

    select
        model_id,
        status,
        cast(delivery_delay_days as double) as delivery_delay_days,
        cast(alert_lead_days as double) as alert_lead_days,
        cast(arrival_ratio as double) as arrival_ratio,
        cast(reported_count as bigint) as reported_count,
        cast(reported_known_count as bigint) as reported_known_count,
        cast(late_count as bigint) as late_count,
        cast(clients_count as bigint) as clients_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('monitoring', 'label_arrival') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
