with

final as (

    select
        model,
        split,
        metric,
        model_id,
        reason,
        cast(value as double) as metric_value,
        cast(low as double) as interval_low,
        cast(high as double) as interval_high
    from {{ source('models', 'metrics') }}

)

select * from final
