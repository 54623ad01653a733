with

final as (

    select
        cast(notes as varchar) as notes,
        cast(horizon_days as integer) as horizon_days,
        cast(embargo_days as integer) as embargo_days,
        cast(warmup_days as integer) as warmup_days,
        cast(first_date as date) as first_date,
        cast(last_date as date) as last_date,
        cast(label_end_date as date) as label_end_date
    from {{ source('intermediate', 'calendar_plan') }}

)

select * from final
